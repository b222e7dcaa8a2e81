"""Ranking every user of one market. Per-user results stay here; means leave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from fedrec.components.metric import Metric, Ranked
from fedrec.data.sequences import Sequences
from fedrec.data.splits import OUTSIDE, Holdout
from fedrec.errors import RunError
from fedrec.metrics.ranking import ndcg, target_ranks, top_items

Scorer = Callable[[NDArray[np.int64]], NDArray[np.floating]]  # users [B] -> scores [B, I]
_CELLS = 4_000_000  # scores held at a time


@dataclass(frozen=True)
class Ranking:
    """One method on one market."""

    users: dict[str, NDArray[np.float64]]  # metric -> [U], private
    whole: dict[str, float]  # metrics that are one figure for all users

    def means(self) -> dict[str, float]:
        """What may leave: the mean of every metric over users, and the others."""
        return {name: float(values.mean()) for name, values in self.users.items()} | self.whole


def excluded(holdout: Holdout, users: NDArray[np.int64]) -> NDArray[np.bool_]:
    """What is not ranked for ``users`` [B]: their history and what the catalogue does not hold, or all but their
    candidates and targets. [B, I].
    """
    if holdout.candidates is None:
        mask = np.zeros((len(users), holdout.histories.item_count), dtype=bool)
        if holdout.catalogue is not None:
            mask[:, ~holdout.catalogue] = True
        histories = holdout.histories.take(users)
        mask[histories.users, histories.items] = True
        return mask
    mask = np.ones((len(users), holdout.histories.item_count), dtype=bool)
    np.put_along_axis(mask, holdout.candidates[users], False, axis=1)
    mask[holdout.targets_of(users)] = False
    return mask


def user_blocks(users: int, items: int) -> list[NDArray[np.int64]]:
    """User indices in blocks whose score matrix stays small."""
    size = max(1, _CELLS // max(items, 1))
    return [np.arange(start, min(start + size, users)) for start in range(0, users, size)]


def rank_users(
    scorers: Mapping[str, Scorer],
    holdout: Holdout,
    metrics: Sequence[Metric],
    cutoffs: Sequence[int],
    train: Sequences,
) -> dict[str, Ranking]:
    """Rank by every scorer in one pass over the users, block by block; every metric at every cutoff.

    Lists are not looked at where few candidates are ranked: metrics that need them are left out.
    """
    items = holdout.histories.item_count
    ranked = np.ones(items, dtype=bool) if holdout.catalogue is None else holdout.catalogue
    used = [metric for metric in metrics if holdout.candidates is None or not metric.sees_lists]
    lists = any(metric.sees_lists for metric in used)
    ranks = {name: np.empty(len(holdout.targets)) for name in scorers}
    top: dict[str, dict[int, list[NDArray[np.int64]]]] = {name: {cutoff: [] for cutoff in cutoffs} for name in scorers}
    for block in _blocks(holdout):
        for name, scorer in scorers.items():
            scores, own = block.rank(scorer)
            ranks[name][block.targets] = own
            for cutoff, found in top[name].items():
                found.append(top_items(scores, cutoff if lists else 0))
    counts = np.bincount(train.distinct % items, minlength=items)
    result = {}
    for name in scorers:
        users: dict[str, NDArray[np.float64]] = {}
        whole: dict[str, float] = {}
        made = [
            Ranked(ranks[name], holdout.rows, np.concatenate(parts), counts, ranked, len(train), cutoff)
            for cutoff, parts in top[name].items()
        ]
        for metric in used:
            for one in made:
                checked = _checked(metric, metric(one), len(holdout))
                figure = f"{metric.settings.kind}@{one.cutoff}"
                if checked.ndim:
                    users[figure] = checked
                else:
                    whole[figure] = float(checked)
        result[name] = Ranking(users, whole)
    return result


def _checked(metric: Metric, value: NDArray[np.float64] | float, users: int) -> NDArray[np.float64]:
    """Raise :class:`RunError` for what is no figure of this metric."""
    array, kind, (low, high) = np.asarray(value, np.float64), metric.settings.kind, metric.bounds
    if array.shape not in {(), (users,)}:
        raise RunError(f"metric {kind!r}: its values have the shape {array.shape}; return one a user, or one for all")
    if not ((array >= low) & (array <= high)).all():  # NaN lies nowhere
        raise RunError(f"metric {kind!r}: a value is not in its bounds, [{low:g}, {high:g}]")
    return array


def all_ranks(scorer: Scorer, holdout: Holdout) -> NDArray[np.float64]:
    """The rank of every target, [T], counted from zero; infinite outside the catalogue."""
    return np.concatenate([block.rank(scorer)[1] for block in _blocks(holdout)])


def mean_ndcg(scorer: Scorer, holdout: Holdout) -> float:
    """Mean NDCG@10, the number that validation chooses by."""
    return float(ndcg(all_ranks(scorer, holdout), 10, holdout.rows).mean())


def mean_loss(scorer: Scorer, holdout: Holdout) -> float:
    """Mean over the targets in the catalogue of -log softmax among what is ranked for their users, in nats.

    Zero where there is none.
    """
    total, count = 0.0, 0
    for block in _blocks(holdout):
        scores = np.where(block.excluded, -np.inf, scorer(block.users).astype(np.float64))  # [B, I]
        inside = block.items != OUTSIDE
        rows = block.rows[inside]
        total += float((logsumexp(scores, axis=1)[rows] - scores[rows, block.items[inside]]).sum())
        count += len(rows)
    return total / max(count, 1)


@dataclass(frozen=True)
class _Block:
    """Some users, what is not ranked for them, and which of the holdout's targets are theirs."""

    users: NDArray[np.int64]
    excluded: NDArray[np.bool_]
    rows: NDArray[np.int64]
    items: NDArray[np.int64]
    targets: slice

    def rank(self, scorer: Scorer) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """Scores [B, I] with -inf where excluded, and the rank of every target of the block."""
        scores = np.where(self.excluded, -np.inf, scorer(self.users))
        ranks = np.full(len(self.items), np.inf)
        inside = self.items != OUTSIDE
        ranks[inside] = target_ranks(scores, self.items[inside], self.rows[inside])
        return scores, ranks


def _blocks(holdout: Holdout) -> Iterator[_Block]:
    start = 0
    for users in user_blocks(len(holdout), holdout.histories.item_count):
        rows, items = holdout.targets_of(users)
        yield _Block(users, excluded(holdout, users), rows, items, slice(start, start + len(items)))
        start += len(items)
