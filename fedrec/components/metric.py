"""The noun ``metric``: how good the rankings of one method are."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedrec.components.section import ComponentSettings


class Ranked(NamedTuple):
    """What one method ranked for the U test users of a market."""

    ranks: NDArray[np.float64]  # [T] of every held-out item, counted from zero; ties count half; infinite: not ranked
    rows: NDArray[np.int64]  # [T] whose item that is; ascending, and every user has one at least
    top: NDArray[np.int64]  # [U, cutoff] the best items, best first; -1 where fewer are ranked
    counts: NDArray[np.int64]  # [I] how many users have each item in their train history
    ranked: NDArray[np.bool_]  # [I] which items are ranked at all
    train_users: int  # whose histories are counted
    cutoff: int


class Metric:
    """Base of metrics; built as ``MetricClass(settings)``. A figure is called ``name@cutoff``.

    ``bounds``: between which every value lies; the coordinator refuses others.
    """

    Settings: ClassVar[type[ComponentSettings]]
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool] = True
    sees_lists: ClassVar[bool] = True
    """Whether it looks at ``top``; if so it is left out where a protocol ranks but a few candidates."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def __call__(self, ranked: Ranked) -> NDArray[np.float64] | float:
        """One value a user, [U], whose mean leaves the market and whose differences get intervals; or one for all."""
        raise NotImplementedError
