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
    best_round: int
    rounds: list[dict[str, Any]] = field(default_factory=list)


def run_rounds(
    grid: Grid, federation: Federation, strategy: SharedAverage, initial: Mapping[str, Array], run: RunFolder
) -> Pretrained:
    """Federated pretraining; returns the shared parameters that validated best, round 0 (untrained) included.

    A reply judges the model it was sent, so round r's validation arrives with round r + 1, and the last round's by a
    question of its own: one exchange a round instead of two. Raises :class:`RunError` when too many rounds in a row
    miss the quorum.
    """
    settings = federation.recipe.federation
    watch = EarlyStopping[dict[str, Array]](settings.patience)
    shared = dict(initial)
    rounds: list[dict[str, Any]] = []
    failed = 0
    judged = True  # whether the current parameters still await their judgement
    for server_round in range(1, settings.rounds + 1):
        started = time.perf_counter()
        messages = strategy.configure_train(server_round, array_record(shared), federation.config(server_round), grid)
        strategy.aggregate_train(server_round, grid.send_and_receive(messages))
        outcome = strategy.outcome
        if outcome is None:
            raise RunError(f"round {server_round}: the strategy left no outcome")
        record = _record(server_round, outcome, time.perf_counter() - started)
        rounds.append(record)
        run.event("round", total=settings.rounds, **record)
        if outcome.average is None:
            failed += 1
            if failed == _FAILED_ROUNDS:
                raise RunError(f"round {server_round}: below quorum {failed} times in a row{_first(outcome)}")
            continue
        failed = 0
        stop = outcome.validation is not None and watch.offer(outcome.validation, shared)
        if stop:
            judged = False
            run.event("stop", round=server_round, reason=f"no better validation in {settings.patience} rounds")
            break
        shared = outcome.average
        run.checkpoint(server_round, shared, {"best_round": watch.best_index, "validation": watch.score})
    if judged and rounds and failed < len(rounds):
        _judge_last(grid, federation, strategy, shared, watch, run)
    if watch.best is None:
        raise RunError("no round reached its quorum; see the rejected replies in events.jsonl")
    return Pretrained(watch.best, watch.best_index, rounds)


def _judge_last(
    grid: Grid,
    federation: Federation,
    strategy: SharedAverage,
    shared: dict[str, Array],
    watch: EarlyStopping[dict[str, Array]],
    run: RunFolder,
) -> None:
    messages = strategy.configure_evaluate(0, array_record(shared), federation.config(), grid)
    metrics = strategy.aggregate_evaluate(0, grid.send_and_receive(messages))
    if metrics is not None:
        validation = float(metrics["validation"])  # type: ignore[arg-type]
        watch.offer(validation, shared)
        run.event("validated", validation=validation)


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
