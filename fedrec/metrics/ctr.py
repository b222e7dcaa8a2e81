"""Click-through metrics over labelled instances: AUC, group AUC, LogLoss, calibration.

AUC and LogLoss take weights, because intervals resample users: an instance counts as often as its user was drawn.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ADDITIVE = ("auc", "gauc", "logloss")  # metrics of which every user has a part
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

    def contributions(self, metric: str) -> dict[int, float]:
        """What every user adds to ``auc``, ``gauc`` or ``logloss``: their mean over users is the figure itself.

        A user's part is the figure plus its derivative by that user's weight, times the number of users. The spread of
        such parts is the spread of the figure over samples of whole users (Obuchowski, Biometrics 1997, for AUC: with
        one instance a user that of DeLong et al., 1988), so tests on paired means apply to them. All nan where the
        figure is.
        """
        users, index = np.unique(self.users, return_inverse=True)
        if metric == "auc":
            figure = self.auc()
            parts = _sums(index, self._auc_parts())
        elif metric == "logloss":
            figure = self.logloss()
            parts = _sums(index, (self.losses - figure) / len(index))
        else:
            groups, figure, parts = self.group_auc, self.group_auc.mean(), np.zeros(len(users))
            parts[np.searchsorted(users, groups.users)] = groups.sizes * (groups.values - figure) / groups.sizes.sum()
        return dict(zip(users.tolist(), (figure + len(users) * parts).tolist(), strict=True))

    def _auc_parts(self) -> Floats:
        """Derivative of the AUC by every instance's weight, [N]."""
        figure = self.auc()
        run = np.searchsorted(self._ties, np.arange(len(self.labels)), side="right") - 1
        positive, negative = (np.bincount(run, kind) for kind in (self.labels, 1 - self.labels))
        positives, negatives = positive.sum(), negative.sum()
        below = (np.cumsum(negative) - negative / 2)[run]  # negatives below each instance, ties at half
        above = (positives - np.cumsum(positive) + positive / 2)[run]
        with np.errstate(invalid="ignore", divide="ignore"):  # no AUC without both kinds
            won = np.where(self.labels == 1, below / negatives, above / positives)
            result: Floats = (won - figure) / np.where(self.labels == 1, positives, negatives)
        return result

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


def _sums(index: NDArray[np.int64], values: Floats) -> Floats:
    result: Floats = np.bincount(index, values).astype(np.float64)
    return result


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
