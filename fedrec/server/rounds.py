"""The round loop: sample, send, collect, validate, aggregate or skip, checkpoint, stop when validation says so.

Flower's own loop cannot stop early, cannot tell a failed round from a good one, ends well when every client failed, and
cannot be resumed.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from fedrec.errors import RunError
from fedrec.exchange.payload import OPENED, TEXTS, Array
from fedrec.masking.following import OpenedSum
from fedrec.masking.ring import rings
from fedrec.runs.folder import Checkpoint, RunFolder
from fedrec.server.federation import Federation
from fedrec.server.masks import MaskedSum
from fedrec.stopping import EarlyStopping, decided_by, is_better, over_markets
from fedrec.strategies.masked import MaskedRound
from fedrec.strategies.records import array_record
from fedrec.strategies.shared_average import RoundOutcome, SharedAverage

_NAMED = 5  # validators in an error
_FAILED_ROUNDS = 3  # skipped rounds in a row before the run is given up
Shared = dict[str, Array]


@dataclass(frozen=True)
class Schedule:
    """Which rounds these are, and how many."""

    stage: str
    rounds: int
    patience: int  # rounds without better validation before stopping
    validated: bool = True  # whether validation chooses a round; if not, all are done and the last one counts
    makes_up: bool = False  # whether a round that was skipped is followed by one more


@dataclass
class Rounds:
    """What the loop carries from one round to the next: all of it is in the checkpoint."""

    shared: Shared
    watch: EarlyStopping[Shared]
    made_in: int = 0  # the round whose aggregate ``shared`` is; 0 is the untrained model
    best_round: int = 0
    skipped: int = 0  # in a row
    missed: int = 0  # in all
    records: list[dict[str, Any]] = field(default_factory=list)
    offers: list[dict[str, float]] = field(default_factory=list)  # what each market said of every model validated

    def accept(self, shared: Shared, server_round: int, validated: bool) -> None:
        """Go on from the aggregate of a round; where nobody validates, it is the best there is."""
        self.shared, self.made_in = shared, server_round
        if not validated:
            self.watch.best, self.watch.score, self.best_round = shared, 0.0, server_round

    def validate(self, validations: Mapping[str, float]) -> bool:
        """Take note of how good ``shared`` is to each market; True when it is time to stop."""
        if not validations:
            return False
        score = over_markets(validations.values())
        if self.watch.best is not None and not is_better(validations, self.offers[self.watch.best_index]):
            score = min(score, self.watch.score)  # whatever the markets say that did not validate both
        elif self.watch.best is not None:
            self.watch.score = -math.inf
        self.offers.append(dict(validations))
        stop = self.watch.offer(score, self.shared)
        if self.watch.best is self.shared:
            self.best_round = self.made_in
        return stop

    def checkpoint(self, stage: str, strategy: SharedAverage, federation: Federation) -> Checkpoint:
        """Everything that the next round depends on."""
        arrays = {"shared": self.shared, "server": strategy.state()}
        opened, traffic = strategy.opened, federation.traffic
        if opened is not None:
            arrays["opened"] = dict(opened.sums)
        if self.watch.best is not None:
            arrays["best"] = self.watch.best
        state = {
            "made_in": self.made_in,
            "best_round": self.best_round,
            "skipped": self.skipped,
            "missed": self.missed,
            "records": self.records,
            "offers": self.offers,
            "watch": {
                "score": self.watch.score if self.watch.best is not None else None,
                "best_index": self.watch.best_index,
                "offered": self.watch.offered,
            },
            "bytes": {"up": traffic.up, "down": traffic.down},
            "summed": federation.summed,
            "opened": opened.describe() if opened is not None else None,
        }
        return Checkpoint(self.records[-1]["round"], arrays, state, stage)

    @classmethod
    def restore(
        cls, checkpoint: Checkpoint, patience: int, strategy: SharedAverage, federation: Federation
    ) -> "Rounds":
        """Go on from a checkpoint."""
        state, arrays, traffic = checkpoint.state, checkpoint.arrays, federation.traffic
        if not 0 <= state["best_round"] <= state["made_in"] <= len(state["records"]):
            raise RunError("a checkpoint is not as this software wrote it; remove it to go on from the one before")
        strategy.restore(arrays["server"])
        traffic.up, traffic.down = state["bytes"]["up"], state["bytes"]["down"]
        federation.summed = state.get("summed")
        if state.get("opened") is not None:
            known = state["opened"]
            strategy.opened = OpenedSum(known["round"], known["over"], rings(arrays["opened"]), known["secrets"])
        watch = EarlyStopping[Shared](patience)
        watch.best_index, watch.offered = state["watch"]["best_index"], state["watch"]["offered"]
        if "best" in arrays:
            watch.score, watch.best = state["watch"]["score"], arrays["best"]
        return cls(
            arrays["shared"],
            watch,
            state["made_in"],
            state["best_round"],
            state["skipped"],
            state.get("missed", 0),
            state["records"],
            state["offers"],
        )

    @property
    def best_validations(self) -> dict[str, float]:
        """What each market said of the best model; empty where nobody validated."""
        return self.offers[self.watch.best_index] if self.offers else {}

    @property
    def decided_by(self) -> str | None:
        """The one market that decided which round is best; None where no single one did, or nobody validated."""
        return decided_by(self.offers, self.watch.best_index) if self.offers else None


def run_rounds(
    grid: Grid,
    federation: Federation,
    strategy: SharedAverage,
    initial: Mapping[str, Array],
    run: RunFolder,
    schedule: Schedule,
) -> Rounds:
    """Rounds of a federation; the result's ``watch.best`` validated best, the untrained parameters included.

    A reply validates the model it was sent, so a model is validated by the replies of the next round: one exchange a
    round instead of two. Only where not all validators answered well are all of them asked once more, because means
    over different markets cannot be compared; so is the last round's model. A run that was interrupted goes on after
    its last whole checkpoint. Raises :class:`RunError` when too many rounds in a row miss the quorum, and when all did:
    then nothing was learned together, and there is no verdict on it.
    """
    rounds = Rounds(dict(initial), EarlyStopping[Shared](schedule.patience))
    checkpoint = run.last_checkpoint(schedule.stage)
    if checkpoint is not None:
        rounds = Rounds.restore(checkpoint, schedule.patience, strategy, federation)
        run.event("resumed", stage=schedule.stage, round=checkpoint.round)
    while len(rounds.records) < schedule.rounds + (rounds.missed if schedule.makes_up else 0):
        server_round = len(rounds.records) + 1
        outcome = _exchange(grid, federation, strategy, rounds, server_round, run, schedule)
        if outcome.shared is None:
            rounds.skipped += 1
            rounds.missed += 1
            if rounds.skipped == _FAILED_ROUNDS:
                raise RunError(
                    f"round {server_round}: below quorum {_FAILED_ROUNDS} times in a row{_why(rounds.records[-1:])}"
                )
        else:
            rounds.skipped = 0
            validations: dict[str, float] = {}
            if schedule.validated:
                asked = strategy.validators
                told = {market: outcome.validations[market] for market in asked if market in outcome.validations}
                heard = set(asked) <= set(outcome.accepted)
                validations = told if heard else _ask_validation(grid, federation, strategy, rounds)
            if rounds.validate(validations):
                reason = f"no better validation in {schedule.patience} rounds"
                run.event("stop", round=server_round, reason=reason)
                break
            rounds.accept(outcome.shared, server_round, schedule.validated)
        run.checkpoint(rounds.checkpoint(schedule.stage, strategy, federation))
    else:
        if schedule.validated and rounds.made_in:
            validations = _ask_validation(grid, federation, strategy, rounds)
            rounds.validate(validations)
            validation = over_markets(validations.values()) if validations else None
            run.event("validated", stage=schedule.stage, round=rounds.made_in, validation=validation)
    if not any(
        record["accepted"] for record in rounds.records
    ):  # where the server adds noise, a round may be noise alone
        raise RunError(f"no round was accepted: nothing was learned together{_why(rounds.records)}")
    if rounds.watch.best is None:
        asked = strategy.validators
        named = ", ".join(asked[:_NAMED]) + (" ..." if len(asked) > _NAMED else "")
        raise RunError(f"no shared model could be validated (by {named}); see events.jsonl, and the markets' own logs")
    return rounds


def _exchange(
    grid: Grid,
    federation: Federation,
    strategy: SharedAverage,
    rounds: Rounds,
    server_round: int,
    run: RunFolder,
    schedule: Schedule,
) -> RoundOutcome:
    """One round's question and answers, recorded."""
    started = time.perf_counter()
    federation.welcome_back()
    strategy.assign_nodes(federation.node_of)
    strategy.remaining = federation.summed
    shared = array_record(rounds.shared)
    messages = list(strategy.configure_train(server_round, shared, federation.config(server_round), grid))
    failed: dict[str, str] = {}
    under = None
    if federation.recipe.masks.enabled:
        under, messages, failed = _under_masks(federation, strategy, messages, server_round)
    replies = grid.send_and_receive(messages, timeout=federation.recipe.federation.deadline_seconds)
    strategy.aggregate_train(server_round, replies)
    if under is not None and under.opened is not None:
        strategy.opened = under.opened
    outcome = strategy.outcome
    if outcome is None:
        raise RunError(f"round {server_round}: the strategy left no outcome")
    outcome = _with_reasons(outcome, failed)
    record = {"stage": schedule.stage, **_record(server_round, outcome, time.perf_counter() - started)}
    rounds.records.append(record)
    run.event("round", total=schedule.rounds, validated=rounds.made_in, **record)
    return outcome


def _under_masks(
    federation: Federation, strategy: SharedAverage, messages: list[Message], server_round: int
) -> tuple[MaskedSum | None, list[Message], dict[str, str]]:
    """Let the markets agree on masks; the sum, the questions for those who did, and why others did not."""
    recipe, action = federation.recipe, strategy.train_action
    try:
        started = MaskedSum.open(federation, action, server_round, strategy.sampled, strategy.current)
    except RunError as error:
        return None, [], dict.fromkeys(strategy.sampled, str(error))
    strategy.masked = MaskedRound(started.weights, recipe.masks.range, recipe.privacy.on, started.reveal, started.kept)
    before = strategy.opened
    asked = []
    for message in messages:
        market = strategy.market_of[message.metadata.dst_node_id]
        if market in started.weights:
            texts = started.texts(market)
            if before is not None:
                texts |= before.texts()
                message.content[OPENED] = array_record(before.sums)
            message.content[TEXTS] = ConfigRecord(dict(texts))
            asked.append(message)
    return started, asked, started.failed


def _with_reasons(outcome: RoundOutcome, failed: Mapping[str, str]) -> RoundOutcome:
    """The outcome with what is known of markets that never came to their answer."""
    rejected = tuple(
        replace(rejection, reason=failed[rejection.market]) if rejection.market in failed else rejection
        for rejection in outcome.rejected
    )
    return replace(outcome, rejected=rejected)


def _ask_validation(grid: Grid, federation: Federation, strategy: SharedAverage, rounds: Rounds) -> dict[str, float]:
    """Validation of the current model in all validators that can say it."""
    arrays = array_record(rounds.shared)
    messages = list(strategy.configure_evaluate(rounds.made_in, arrays, federation.config(rounds.made_in), grid))
    replies = list(grid.send_and_receive(messages, timeout=federation.recipe.federation.stage_deadline_seconds))
    federation.count_traffic(messages, replies)
    strategy.aggregate_evaluate(0, replies)
    return strategy.validations


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
        "validations_before": dict(outcome.validations),
        "drift": outcome.drift,
        **({"transfer_gap": dict(outcome.gaps)} if outcome.gaps else {}),
    }


def _why(records: Sequence[Mapping[str, Any]]) -> str:
    """The first rejection of these rounds, in words."""
    rejected = [one for record in records for one in record["rejected"]]
    return f"; {rejected[0]['market']}: {rejected[0]['reason']}" if rejected else ""
