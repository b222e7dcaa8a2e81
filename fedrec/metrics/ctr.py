"""Click-through metrics over labelled instances: AUC, group AUC, LogLoss, calibration.

AUC and LogLoss take weights, because intervals resample users: an instance counts as often as its user was drawn.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BINS = 10
_LEAST = 1e-7  # predictions are kept this far from zero and one


class Predictions:
    """Predicted probabilities of N instances with their labels and users, sorted once for many weightings."""

    def __init__(self, users: NDArray[np.int64], labels: NDArray[np.floating], predicted: NDArray[np.floating]) -> None:
        order = np.argsort(predicted, kind="stable")
        self._order = order
        self.users = users[order]
        self.labels = labels[order].astype(np.float64)
        self.predicted = predicted[order].astype(np.float64)
        changes = np.flatnonzero(np.diff(self.predicted)) + 1
        self._ties = np.concatenate([[0], changes])  # where each run of equal predictions begins

    def in_order(self, values: Floats) -> Floats:
        """Values [N] of the sorted instances in the order in which they were given."""
        result = np.empty_like(values)
        result[self._order] = values
        return result

    def auc(self, weights: Floats | None = None) -> float:
        """Chance that a positive is predicted above a negative, ties at half; nan without both kinds.

        ``weights`` [N] in the order of construction's sorting (see :attr:`users`).
        """
        own = np.ones(len(self.labels)) if weights is None else weights
        positive = np.add.reduceat(own * self.labels, self._ties)
        negative = np.add.reduceat(own * (1 - self.labels), self._ties)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float(positive @ (below + negative / 2) / pairs) if pairs else float("nan")

    def logloss(self, weights: Floats | None = None) -> float:
        """Mean negative log-likelihood."""
        return float(np.average(self.losses, weights=weights))

    @cached_property
    def losses(self) -> Floats:
        """Negative log-likelihood of every instance, [N]."""
        clipped = np.clip(self.predicted, _LEAST, 1 - _LEAST)
        result: Floats = -np.where(self.labels == 1, np.log(clipped), np.log(1 - clipped))
        return result

    def ece(self) -> float:
        """Expected calibration error: |mean prediction - share of positives| over ten equal bins of [0, 1]."""
        bins = np.minimum((self.predicted * _BINS).astype(int), _BINS - 1)
        gap = np.bincount(bins, self.predicted - self.labels, _BINS)
        return float(np.abs(gap).sum() / len(self.labels))

    @cached_property
    def group_auc(self) -> "GroupAuc":
        """AUC inside each user who has both kinds of label."""
        order = np.argsort(self.users, kind="stable")  # keeps the order of predictions inside a user
        users, labels, predicted = self.users[order], self.labels[order], self.predicted[order]
        tie = np.ones(len(users), dtype=bool)
        tie[1:] = (users[1:] != users[:-1]) | (predicted[1:] != predicted[:-1])
        runs = np.flatnonzero(tie)
        owner, group = np.unique(users[runs], return_inverse=True)
        positive = np.add.reduceat(labels, runs)
        negative = np.add.reduceat(1 - labels, runs)
        first = np.searchsorted(group, np.arange(len(owner)))
        running = np.cumsum(negative) - negative
        below = running - running[first][group]
        wins = np.bincount(group, positive * (below + negative / 2))
        positives, negatives = np.bincount(group, positive), np.bincount(group, negative)
        both = (positives > 0) & (negatives > 0)
        return GroupAuc(
            owner[both], wins[both] / (positives * negatives)[both], (positives + negatives)[both].astype(np.float64)
        )


class GroupAuc:
    """AUC per user, weighted by the user's instances."""

    def __init__(self, users: NDArray[np.int64], values: Floats, sizes: Floats) -> None:
        self.users = users
        self.values = values  # [G]
        self.sizes = sizes  # [G]

    def mean(self, weights: Floats | None = None) -> float:
        """Weighted mean; ``weights`` [G] say how often each user counts. nan where nobody has both kinds."""
        own = self.sizes if weights is None else self.sizes * weights
        return float(self.values @ own / own.sum()) if own.sum() else float("nan")
