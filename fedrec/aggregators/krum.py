"""Krum and multi-Krum (Blanchard et al., NeurIPS 2017): the updates that have the nearest neighbours are taken."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from fedrec.components.aggregator import Aggregator, Array, State, Update, weighted_average
from fedrec.components.section import ComponentSettings


class KrumSettings(ComponentSettings):
    """Of aggregator.kind krum."""

    kind: str = "krum"
    malicious: int = Field(default=1, ge=0, le=100000, description="f: how many markets may be bad")


class Krum(Aggregator):
    """The one update with the smallest sum of squared distances to its n - f - 2 nearest others.

    The paper's guarantee wants n >= 2 f + 3 updates. With fewer it still chooses, by one neighbour at least.
    """

    Settings = KrumSettings

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """It remembers nothing. Of equals the first by market is taken."""
        return weighted_average(_alike(self._chosen(updates))), {}

    def _chosen(self, updates: Sequence[Update]) -> list[Update]:
        return nearest(updates, self.settings.malicious, 1)


class MultiKrumSettings(KrumSettings):
    """Of aggregator.kind multi_krum."""

    kind: str = "multi_krum"
    selected: int = Field(default=3, ge=1, le=100000, description="m: how many updates are averaged, all alike")


class MultiKrum(Krum):
    """The plain mean of the m updates that Krum would choose first."""

    Settings = MultiKrumSettings

    def _chosen(self, updates: Sequence[Update]) -> list[Update]:
        return nearest(updates, self.settings.malicious, self.settings.selected)


def nearest(updates: Sequence[Update], malicious: int, selected: int) -> list[Update]:
    """The ``selected`` updates with the smallest scores, in the order given."""
    flat = np.stack(
        [
            np.concatenate([np.ravel(array).astype(np.float64) for _, array in sorted(update.arrays.items())])
            for update in updates
        ]
    )  # [M, N]
    distances = np.stack([np.square(flat - row).sum(axis=1) for row in flat])  # [M, M]
    neighbours = max(1, len(updates) - malicious - 2)
    scores = np.sort(distances, axis=1)[:, 1 : neighbours + 1].sum(axis=1)  # its own distance, zero, is the first
    chosen = sorted(np.argsort(scores, kind="stable")[:selected])
    return [updates[index] for index in chosen]


def _alike(updates: Sequence[Update]) -> list[Update]:
    return [update._replace(weight=1 / len(updates)) for update in updates]
