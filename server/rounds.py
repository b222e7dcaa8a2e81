"""The round loop: sample, send, collect, validate, average or skip, checkpoint, stop when validation says so.

Flower's own loop cannot stop early, cannot tell a failed round from a good one, and ends well when every client failed.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.serverapp import Grid

from fedrec.errors import RunError
from fedrec.exchange.payload import Array
from fedrec.runs.folder import RunFolder
from fedrec.stopping import EarlyStopping
from server.federation import Federation
from strategies.records import array_record
from strategies.shared_average import RoundOutcome, SharedAverage

_FAILED_ROUNDS = 3  # skipped rounds in a row before the run is given up


@dataclass
class Pretrained:
    """What stage one ended with."""

    shared: dict[str, Array]
    best_round: int  # whose average ``shared`` is; 0 is the untrained model
    rounds: list[dict[str, Any]] = field(default_factory=list)


def run_rounds(
    grid: Grid, federation: Federation, strategy: SharedAverage, initial: Mapping[str, Array], run: RunFolder
) -> Pretrained:
    """Federated pretraining; returns the shared parameters that validated best, the untrained ones included.

    A reply judges the model it was sent, so a model is judged by the replies of the next round: one exchange a round
    instead of two. Only where not all markets answered well are all of them asked once more, because means over
    different markets cannot be compared; so is the last round's model. Raises :class:`RunError` when too many rounds
    in a row miss the quorum.
    """
    settings = federation.recipe.federation
    watch = EarlyStopping[tuple[int, dict[str, Array]]](settings.patience)
    shared, made_in = dict(initial), 0
    rounds: list[dict[str, Any]] = []
    failed = 0
    for server_round in range(1, settings.rounds + 1):
        started = time.perf_counter()
        messages = strategy.configure_train(server_round, array_record(shared), federation.config(server_round), grid)
        strategy.aggregate_train(server_round, grid.send_and_receive(messages))
        outcome = strategy.outcome
        if outcome is None:
            raise RunError(f"round {server_round}: the strategy left no outcome")
        record = _record(server_round, outcome, time.perf_counter() - started)
        rounds.append(record)
        run.event("round", total=settings.rounds, judged=made_in, **record)
        if outcome.average is None:
            failed += 1
            if failed == _FAILED_ROUNDS:
                raise RunError(f"round {server_round}: below quorum {failed} times in a row{_first(outcome)}")
            continue
        failed = 0
        validation = outcome.validation
        if list(outcome.accepted) != federation.markets:
            validation = _ask_validation(grid, federation, strategy, shared)
        if validation is not None and watch.offer(validation, (made_in, shared)):
            run.event("stop", round=server_round, reason=f"no better validation in {settings.patience} rounds")
            break
        shared, made_in = outcome.average, server_round
        run.checkpoint(server_round, shared, {})
    else:
        validation = _ask_validation(grid, federation, strategy, shared)
        if validation is not None:
            watch.offer(validation, (made_in, shared))
            run.event("validated", round=made_in, validation=validation)
    if watch.best is None:
        raise RunError("no shared model could be validated; see events.jsonl")
    best_round, best = watch.best
    return Pretrained(best, best_round, rounds)


def _ask_validation(
    grid: Grid, federation: Federation, strategy: SharedAverage, shared: Mapping[str, Array]
) -> float | None:
    """Mean validation NDCG@10 of one model over all markets that can say it."""
    messages = list(strategy.configure_evaluate(0, array_record(shared), federation.config(), grid))
    replies = list(grid.send_and_receive(messages))
    federation.count_traffic(messages, replies)
    metrics = strategy.aggregate_evaluate(0, replies)
    return None if metrics is None else float(metrics["validation"])  # type: ignore[arg-type]


def _record(server_round: int, outcome: RoundOutcome, seconds: float) -> dict[str, Any]:
    return {
        "round": server_round,
        "seconds": seconds,
        "train_seconds": outcome.train_seconds,
        "bytes_up": outcome.bytes_up,
        "bytes_down": outcome.bytes_down,
        "accepted": list(outcome.accepted),
        "rejected": [{"market": rejection.market, "reason": rejection.reason} for rejection in outcome.rejected],
        "validation_before": outcome.validation,
        "drift": outcome.drift,
    }


def _first(outcome: RoundOutcome) -> str:
    return f"; {outcome.rejected[0].market}: {outcome.rejected[0].reason}" if outcome.rejected else ""
