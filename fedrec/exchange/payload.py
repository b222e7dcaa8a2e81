"""What one market sends in one message, before any engine wraps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Text = str | Sequence[str]

# Names of the records of a Flower message; both sides use them.
STATISTICS = "statistics."  # before the names of statistics, among the arrays
ARRAYS, SCALARS, TEXTS, CONFIG = "arrays", "scalars", "texts", "config"


@dataclass(frozen=True)
class Payload:
    """Arrays, scalars and texts by name.

    ``statistics`` are arrays that are no parameters (counts, sums): they travel beside the arrays, and stages that work
    on an update leave them alone. ``base`` holds the values an update started from, as the server sent them. It is
    never sent back; stages that work on the change (clipping, the ledger's count of changed rows) need it.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)
    base: Mapping[str, Array] = field(default_factory=dict)
    statistics: Mapping[str, Array] = field(default_factory=dict)

    @property
    def sent(self) -> dict[str, Array]:
        """Every array that leaves, by the name it travels under."""
        return {**self.arrays, **{STATISTICS + name: array for name, array in self.statistics.items()}}


@dataclass(frozen=True)
class Origin:
    """Which market sends, in which round (0: not a round), in answer to which action."""

    market: str
    round: int
    action: str
