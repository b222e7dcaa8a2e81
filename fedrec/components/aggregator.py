"""The noun ``aggregator``: the markets' updates of one round in, the next shared parameters out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.components.section import ComponentSettings

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
State = dict[str, Array]


class Update(NamedTuple):
    """What one market's training came to. The weights of a round sum to one."""

    market: str
    arrays: Mapping[str, Array]
    weight: float


class LocalTerm(Protocol):
    """The market's half of an aggregator: a term of its loss, and what it remembers from round to round.

    ``start`` are the shared parameters that came, ``memory`` what the market remembered last: nothing in its first
    round. Nothing of it leaves.
    """

    def __init__(self, settings: Any) -> None:
        """``settings``: of the aggregator."""

    def penalty(
        self, parameters: Mapping[str, "Tensor"], start: Mapping[str, "Tensor"], memory: Mapping[str, "Tensor"]
    ) -> "Tensor":
        """What is added to the loss of every batch."""

    def remember(
        self, parameters: Mapping[str, "Tensor"], start: Mapping[str, "Tensor"], memory: Mapping[str, "Tensor"]
    ) -> "Mapping[str, Tensor]":
        """The memory after a round that ended with ``parameters``."""


class Aggregator:
    """Base of aggregators; built as ``AggregatorClass(settings)``, with nothing to remember outside of ``state``.

    Server and markets may each build one and must come to the same: :meth:`apply` draws nothing and changes none of
    what it is given.
    """

    Settings: ClassVar[type[ComponentSettings]]
    linear: ClassVar[bool] = False
    """Whether it sees of the updates their weighted mean alone. One update that is this mean must then give the same:
    so it goes with masks, noise of the server and a pacer's shares."""
    local: ClassVar[type[LocalTerm] | None] = None
    """Its market's half, built as ``local(settings)``."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def objection(cls, settings: Any) -> str | None:
        """What of the settings does not fit together, with its remedy; None where all does."""
        return None

    def init(self) -> State:
        """The state before the first round: arrays by name, which checkpoints hold."""
        return {}

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """The next shared parameters, of the names, shapes and types of ``current``, and the state after this round.

        ``updates``: at least one, validated, finite, sorted by market.
        """
        raise NotImplementedError


def weighted_average(updates: Sequence[Update]) -> dict[str, Array]:
    """The mean under the updates' weights, summed in float64 in their order, in the first one's types."""
    result: dict[str, Array] = {}
    for name, first in sorted(updates[0].arrays.items()):
        total = np.zeros(first.shape, dtype=np.float64)
        for update in updates:
            total += update.weight * np.asarray(update.arrays[name], dtype=np.float64)
        result[name] = total.astype(first.dtype)
    return result
