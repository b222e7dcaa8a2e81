"""Ragged histories: what remains of the interactions once users and items are numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

DAY = 86400.0


@dataclass(frozen=True)
class Sequences:
    """Histories of U users over I items; the row of user u is ``items[offsets[u]:offsets[u + 1]]``, oldest first."""

    offsets: NDArray[np.int64]  # [U + 1]
    items: NDArray[np.int64]  # [N], in [0, I)
    times: NDArray[np.int64]  # [N], seconds
    item_count: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Interactions per user, [U]."""
        return np.diff(self.offsets)

    @property
    def users(self) -> NDArray[np.int64]:
        """The user index of every interaction, [N]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def last_times(self) -> NDArray[np.int64]:
        """Time of every user's last interaction, [U]; users must have one."""
        return self.times[self.offsets[1:] - 1]

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """Every pair of user and item once, as user * I + item, sorted, [P]."""
        return np.unique(self.users * self.item_count + self.items)

    def take(self, users: NDArray[np.int64]) -> "Sequences":
        """The histories of some users, in the order given."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sequences(offsets, self.items[source], self.times[source], self.item_count)

    def item_counts(self) -> NDArray[np.int64]:
        """Interactions per item, [I]."""
        return np.bincount(self.items, minlength=self.item_count)

    def matrix(self, half_life_days: float | None = None) -> "sparse.csr_matrix":
        """User-item matrix [U, I]: ones, or weights halving with age before the user's last interaction.

        An item that a user repeats counts with its latest interaction.
        """
        weights = np.ones(len(self.items))
        if half_life_days is not None and len(self.items):
            age = np.repeat(self.last_times, self.lengths) - self.times
            weights = np.exp2(-age / (DAY * half_life_days))
        pairs = self.users * self.item_count + self.items
        latest = np.zeros(len(pairs), dtype=bool)
        latest[len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]] = True
        offsets = np.concatenate([[0], np.cumsum(latest)])[self.offsets]
        return sparse.csr_matrix((weights[latest], self.items[latest], offsets), shape=(len(self), self.item_count))
