"""The Flower strategy that aggregates the shared parameter group.

Flower's own FedAvg averages NaN, broadcasts mismatched shapes and accepts any weight; here every reply is validated
first, and a rejected one leaves the result exactly as if that market had not been asked.
"""

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedrec.components.aggregator import Update
from fedrec.errors import RunError
from fedrec.exchange.aggregation import aggregator_state, apply_aggregator
from fedrec.exchange.declaration import PRETRAIN, REFIT, VALIDATE
from fedrec.exchange.payload import Array, Payload
from fedrec.exchange.pipeline import UpdatePipeline
from fedrec.exchange.reply import ReplySchema
from fedrec.exchange.update import update_stages
from fedrec.exchange.weights import capped, relative_weights, transfer_weight
from fedrec.flower_arrays import numpy_of
from fedrec.masking.following import OpenedSum, decoded, following
from fedrec.recipe import Recipe
from fedrec.stopping import over_markets
from fedrec.strategies.drift import mean_pairwise_cosine
from fedrec.strategies.market_noise import MarketNoise
from fedrec.strategies.masked import MaskedRound
from fedrec.strategies.records import Answer, array_record, content_bytes, instruction, read_answers
from fedrec.strategies.sampling import sample_markets, validating_markets

VALIDATION, GAP = "validation", "transfer_gap"


@dataclass(frozen=True)
class Rejection:
    """A reply that was not used, and why."""

    market: str
    reason: str


@dataclass(frozen=True)
class RoundOutcome:
    """What one round of training came to."""

    accepted: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    shared: dict[str, Array] | None  # the next shared parameters; None below quorum: the round is skipped
    validations: Mapping[str, float]  # of the accepted, of the model the round started from
    gaps: Mapping[str, float]  # of the accepted: what a pacer says of the model the round started from, in nats
    drift: float | None
    train_seconds: float
    bytes_up: int
    bytes_down: int

    @property
    def validation(self) -> float | None:
        """Over the markets; None where none said it."""
        return over_markets(self.validations.values()) if self.validations else None


class SharedAverage(Strategy):
    """The recipe's aggregator over the shared group, and a seeded sample of markets.

    The actions say what markets are asked: to train from the shared arrays, to validate them.
    """

    train_action, validate_action = PRETRAIN, VALIDATE

    def __init__(
        self,
        node_of: Mapping[str, int],
        recipe: Recipe,
        largest: Mapping[str, float] | None = None,
        *,
        refits: bool = False,
        noise: MarketNoise | None = None,
    ) -> None:
        """``largest``: the largest weight that each market may have, by what it said of its size.

        ``refits``: validation users are learned from, so there is no figure of validation. ``noise``: where the server
        keeps the markets private.
        """
        self.assign_nodes(node_of)
        self.largest = largest or {}
        self.validations: dict[str, float] = {}  # of the last model that all validators were asked about
        self.recipe = recipe
        self.federation = recipe.federation
        self.pacer = recipe.pacer
        self.validated = recipe.validated and not refits
        if refits:
            self.train_action = REFIT
        self.noise = noise
        self.server_round = 0
        self.seed = recipe.seed
        self.pipeline = UpdatePipeline(update_stages(recipe.update))
        self.memory: dict[str, Array] = {}  # the state of the aggregator
        self.current: dict[str, Array] = {}
        self.sampled: list[str] = []
        self.outcome: RoundOutcome | None = None
        self.bytes_down = 0
        self.masked: MaskedRound | None = None  # how to sum this round's answers, where they come under masks
        self.remaining: list[str] | None = None  # under masks: who has not dropped out
        self.opened: OpenedSum | None = None  # the last sum, which the markets must be shown

    def assign_nodes(self, node_of: Mapping[str, int]) -> None:
        """Which node speaks for which market; may change when a market comes back."""
        self.node_of = dict(node_of)
        self.market_of = {node: market for market, node in self.node_of.items()}

    @property
    def validators(self) -> list[str]:
        """The markets that say how good a shared model is."""
        return validating_markets(self.node_of, self.federation.validators, self.seed)

    @property
    def paced(self) -> bool:
        """Whether answers say how far the model is from the market's own."""
        return self.pacer.on and self.train_action == PRETRAIN

    @property
    def parameters(self) -> dict[str, Array]:
        """Those of the current arrays that markets train."""
        return self.current

    def state(self) -> dict[str, Array]:
        """Everything the next round depends on beside the shared arrays."""
        return dict(self.memory)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a saved :meth:`state`."""
        self.memory = aggregator_state(state)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message to every sampled market."""
        self.current = {name: numpy_of(array) for name, array in arrays.items()}
        self.server_round = server_round
        if self.noise is not None:
            self.sampled = self.noise.sample(list(self.node_of), server_round)
        elif self.remaining is not None:
            self.sampled = sorted(self.remaining)
        else:
            self.sampled = sample_markets(list(self.node_of), self.federation.participation, self.seed, server_round)
        return self._messages(self.sampled, self.train_action, server_round, arrays, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Validate, then aggregate what passed; (None, None) below quorum. Details are in ``outcome``."""
        accepted: list[Answer] = []
        rejected: list[Rejection] = []
        heard: set[str] = set()  # whose answer was accepted
        answers = read_answers(replies, self.market_of)
        for answer in answers:
            answer = self._undone(answer)
            reason = self._reason(answer, heard, server_round)
            if reason is None and self.masked is not None:
                shapes = {name: array.shape for name, array in {**self.parameters, **self._statistics_like()}.items()}
                reason = self.masked.reason_to_reject(answer.payload, shapes, self.train_action)
            elif reason is None:
                reason = self._reason_to_reject(answer.payload)
            reason = reason or self._missing(answer.payload) or self._too_heavy(answer)
            if reason:
                rejected.append(Rejection(answer.origin.market, reason))
            else:
                accepted.append(answer)
                heard.add(answer.origin.market)
        accepted = self._kept_together(accepted, rejected)
        silent = sorted(set(self.sampled) - {answer.origin.market for answer in answers})
        waited = self.federation.deadline_seconds
        within = f" within {waited:g} s" if waited is not None else ""
        rejected += [Rejection(market, f"no reply{within}") for market in silent]
        self.outcome = self._summarise(answers, accepted, rejected)
        self.masked = None  # masks are of one round
        if self.outcome.shared is None:
            return None, None
        metrics = {
            name: value
            for name, value in (("validation", self.outcome.validation), ("drift", self.outcome.drift))
            if value is not None
        }
        return array_record(self.outcome.shared), MetricRecord(metrics)  # type: ignore[arg-type]

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message to every validator: how good is this shared model on your validation users?"""
        return self._messages(self.validators, self.validate_action, server_round, arrays, config)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The finite answers over the markets; None when there is none. By market they are in ``validations``."""
        self.validations = validations_of(read_answers(replies, self.market_of))
        return MetricRecord({"validation": over_markets(self.validations.values())}) if self.validations else None

    def summary(self) -> None:
        """Log what this strategy does."""
        log(INFO, "\t├──> markets: %s, weights: %s", sorted(self.node_of), self.federation.weights)

    def _messages(
        self, markets: list[str], action: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord
    ) -> list[Message]:
        messages = [instruction(self.node_of[market], action, server_round, config, arrays) for market in markets]
        self.bytes_down = sum(map(content_bytes, messages))
        return messages

    def _undone(self, answer: Answer) -> Answer:
        if answer.error is not None or self.masked is not None:
            return answer
        try:
            payload = self.pipeline.incoming(replace(answer.payload, base=self.parameters), answer.origin)
        except ValueError as error:
            return replace(answer, error=str(error))
        return replace(answer, payload=payload)

    def _reason(self, answer: Answer, heard: Set[str], server_round: int) -> str | None:
        if answer.error is not None:
            return answer.error
        if answer.origin.round != server_round:
            return f"round {answer.origin.round}, expected {server_round}"
        if answer.origin.market not in self.sampled:
            return "was not asked"
        if answer.origin.market in heard:
            return "duplicate reply"
        return None

    def _summarise(self, answers: list[Answer], accepted: list[Answer], rejected: list[Rejection]) -> RoundOutcome:
        updates = [answer.payload.arrays for answer in accepted]
        shared = None
        least = math.ceil(self.federation.quorum * len(self.sampled) - 1e-9)
        if len(accepted) >= (least if self.noise is not None else max(1, least)):  # a coin may ask nobody: noise alone
            try:
                shared = self._next(accepted)
            except RunError as error:  # too few markets helped to open a masked sum: the round reveals nothing
                rejected = [*rejected, *(Rejection(answer.origin.market, str(error)) for answer in accepted)]
                accepted = []
        return RoundOutcome(
            accepted=tuple(answer.origin.market for answer in accepted),
            rejected=tuple(rejected),
            shared=shared,
            validations=validations_of(accepted),
            gaps={answer.origin.market: answer.payload.scalars[GAP] for answer in accepted if self.paced},
            drift=None if self.masked is not None else mean_pairwise_cosine(self.parameters, updates),
            train_seconds=math.fsum(answer.payload.scalars.get("seconds", 0.0) for answer in accepted),
            bytes_up=sum(answer.bytes for answer in answers),
            bytes_down=self.bytes_down,
        )

    def _missing(self, payload: Payload) -> str | None:
        """A figure that every answer must have, and this one has not."""
        wanted = ([VALIDATION] if self.validated else []) + ([GAP] if self.paced else [])
        return next((f"{name}: missing" for name in wanted if name not in payload.scalars), None)

    def _too_heavy(self, answer: Answer) -> str | None:
        """A market weighs no more than what it said at hello; under masks its weight was checked when it announced."""
        weight, most = answer.payload.scalars.get("weight", 0.0), self.largest.get(answer.origin.market, math.inf)
        return f"weight {weight:g} is more than the {most:g} of its hello" if weight > most else None

    def _reason_to_reject(self, payload: Payload) -> str | None:
        schema = ReplySchema(self.parameters, self.federation.norm_bound, action=self.train_action)
        return schema.reason_to_reject(payload)

    def _next(self, accepted: list[Answer]) -> dict[str, Array]:
        """What the next round starts from."""
        if self.masked is not None:
            return self._step_masked(self.masked, accepted)
        updates = self._updates(accepted)
        if self.noise is not None:
            told = [update.arrays for update in updates]
            updates = [Update("", self.noise.average(told, self.parameters, self.server_round), 1.0)]
        result, self.memory = apply_aggregator(self.recipe.aggregator, self.parameters, updates, self.memory)
        return result

    def _updates(self, accepted: list[Answer]) -> list[Update]:
        """What was accepted, with weights that sum to one; a pacer leaves each market a part of its own."""
        settings = self.federation
        sizes = [answer.payload.scalars["weight"] for answer in accepted]
        weights = relative_weights(settings.weights, sizes, settings.max_share) if sizes else []
        if self.paced and self.pacer.scales == "share":
            paces = [transfer_weight(answer.payload.scalars[GAP], self.pacer.temperature) for answer in accepted]
            paced = [weight * pace for weight, pace in zip(weights, paces, strict=True)]
            total = math.fsum(paced)
            weights = capped([share / total for share in paced], settings.max_share)
        return [
            Update(answer.origin.market, answer.payload.arrays, weight)
            for answer, weight in zip(accepted, weights, strict=True)
        ]

    def _step_masked(self, masked: MaskedRound, accepted: list[Answer]) -> dict[str, Array]:
        """The next arrays; every market computes the same, see :mod:`fedrec.masking.following`."""
        payloads = {answer.origin.market: answer.payload for answer in accepted}
        sums = decoded(masked.sums(payloads), len(masked.weights), self.recipe)
        total = masked.total_weight(sorted(payloads))
        result, state = following(
            self.recipe, self.train_action, self.server_round, self.current, self.state(), sums, total
        )
        self.restore(state)
        return result

    def _kept_together(self, accepted: list[Answer], rejected: list[Rejection]) -> list[Answer]:
        """Under masks, whom the sum may hold without telling one market from all others; notes who may not be in it."""
        if self.masked is None:
            return accepted
        kept = self.masked.kept([answer.origin.market for answer in accepted])
        others = [answer.origin.market for answer in accepted if answer.origin.market not in kept]
        rejected += [Rejection(market, "stays out with one that dropped out") for market in others]
        return [answer for answer in accepted if answer.origin.market in kept]

    def _statistics_like(self) -> dict[str, Array]:
        """Arrays of the shapes of the statistics that come beside the parameters, by the name they travel under."""
        return {}


def validations_of(answers: Iterable[Answer]) -> dict[str, float]:
    """What each market says of a model, where it is a figure that can be."""
    return {
        answer.origin.market: value
        for answer in answers
        if answer.error is None and 0 <= (value := answer.payload.scalars.get("validation", math.nan)) <= 1
    }
