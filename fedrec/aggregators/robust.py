"""Aggregation that a few bad updates cannot move far (Yin et al., ICML 2018). Every market counts alike."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from fedrec.components.aggregator import Aggregator, Array, State, Update
from fedrec.components.section import ComponentSettings, without_keys


class Median(Aggregator):
    """Median of every single number; with an even count, the mean of the middle two."""

    Settings = without_keys("median")

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """It remembers nothing, and weighs nobody."""
        return _by_number(updates, lambda stacked: np.median(stacked, axis=0)), {}


class TrimmedMeanSettings(ComponentSettings):
    """Of aggregator.kind trimmed_mean."""

    kind: str = "trimmed_mean"
    trim: float = Field(default=0.2, ge=0, lt=0.5, description="share cut off at either end")


class TrimmedMean(Aggregator):
    """Mean of every single number without its floor(``trim`` * markets) lowest and as many highest."""

    Settings = TrimmedMeanSettings

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """It remembers nothing, and weighs nobody."""
        # scipy floors trim * markets in floating point, where 0.29 * 100 is a little less than 29
        trim = self.settings.trim + 1e-12
        return _by_number(updates, lambda stacked: stats.trim_mean(stacked, trim, axis=0)), {}


def _by_number(
    updates: Sequence[Update], summary: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> dict[str, Array]:
    """``summary`` over the markets [M, ...] of every array, formed in float64."""
    return {
        name: np.asarray(summary(np.stack([update.arrays[name] for update in updates]).astype(np.float64)), first.dtype)
        for name, first in sorted(updates[0].arrays.items())
    }
