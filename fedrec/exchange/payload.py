"""What one market sends in one message, before any engine wraps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedrec.privacy.release import Release

Array = NDArray[np.generic]
Text = str | Sequence[str]

Values = TypeVar("Values", bound=Array)

# Names of the records of a Flower message; both sides use them.
STATISTICS = "statistics."  # before the names of statistics, among the arrays
ARRAYS, SCALARS, TEXTS, CONFIG = "arrays", "scalars", "texts", "config"
PART = "part"  # of a run, in the configuration of a question; absent for the run itself
SCORES = "scores"  # the part of a run that trains the model of a recipe's section `scores`
OPENED = "opened"  # of a masked round: the sum that the last one opened


@dataclass(frozen=True)
class Provenance:
    """What something that leaves was made of, as privacy sees it.

    ``public``: nothing of any user. ``released``: noised as ``release`` says, and charged once for each ``key``;
    without a release, made of such things alone. ``outside``: of users, without noise, and said to be so.
    """

    kind: Literal["public", "released", "outside"]
    release: Release | None = None
    key: str = ""

    def describe(self) -> str:
        """In a few words, for the ledger."""
        if self.kind == "outside":
            return "outside epsilon"
        if self.release is None:
            return "public" if self.kind == "public" else "made of noised releases"
        return (
            f"noised: multiplier {self.release.noise_multiplier:.4g}, {self.release.steps} x sampling "
            f"{self.release.sampling:.4g}"
        )


def with_prefix(arrays: Mapping[str, Values], prefix: str) -> dict[str, Values]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


PUBLIC, DERIVED, OUTSIDE = Provenance("public"), Provenance("released"), Provenance("outside")


@dataclass(frozen=True)
class Payload:
    """Arrays, scalars and texts by name.

    ``statistics`` are arrays that are no parameters (counts, sums): they travel beside the arrays, and stages that work
    on an update leave them alone. ``base`` holds the values an update started from, as the server sent them. It is
    never sent back; stages that work on the change (clipping, the ledger's count of changed rows) need it.
    ``provenance`` of an array, by name or by "*" for all others; what has none is not private.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)
    base: Mapping[str, Array] = field(default_factory=dict)
    statistics: Mapping[str, Array] = field(default_factory=dict)
    provenance: Mapping[str, Provenance] = field(default_factory=dict)

    def provenance_of(self, name: str) -> Provenance | None:
        """Of what leaves under ``name``."""
        return self.provenance.get(name, self.provenance.get("*"))

    @property
    def sent(self) -> dict[str, Array]:
        """Every array that leaves, by the name it travels under."""
        return {**self.arrays, **{STATISTICS + name: array for name, array in self.statistics.items()}}


@dataclass(frozen=True)
class Origin:
    """Which market sends, in which round (0: not a round), in answer to which action, in which part of the run."""

    market: str
    round: int
    action: str
    part: str = ""
