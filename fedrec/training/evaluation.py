"""Ranking every user of one market by one method. Per-user results stay here; means leave."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.splits import Holdout
from fedrec.metrics.ranking import CUTOFFS, ndcg, per_user_metrics, target_ranks, top_items

Scorer = Callable[[NDArray[np.int64]], NDArray[np.floating]]  # users [B] -> scores [B, I]
_CELLS = 4_000_000  # scores held at a time


@dataclass(frozen=True)
class Ranking:
    """One method on one market."""

    users: dict[str, NDArray[np.float64]]  # metric -> [U], private
    coverage: dict[str, float]  # share of the catalogue in anyone's top list

    def means(self) -> dict[str, float]:
        """What may leave: the mean of every metric, and the coverage."""
        return {name: float(values.mean()) for name, values in self.users.items()} | self.coverage


def exclude_history(scores: NDArray[np.floating], holdout: Holdout, users: NDArray[np.int64]) -> None:
    """Set the scores of every user's own history to -inf, in place."""
    histories = holdout.histories.take(users)
    scores[histories.users, histories.items] = -np.inf


def user_blocks(users: int, items: int) -> list[NDArray[np.int64]]:
    """User indices in blocks whose score matrix stays small."""
    size = max(1, _CELLS // max(items, 1))
    return [np.arange(start, min(start + size, users)) for start in range(0, users, size)]


def rank_users(scorer: Scorer, holdout: Holdout) -> Ranking:
    """Rank the whole catalogue minus each user's history."""
    ranks = np.empty(len(holdout.targets))
    recommended = {cutoff: np.zeros(holdout.histories.item_count, dtype=bool) for cutoff in CUTOFFS}
    for users, scores in _scored(scorer, holdout):
        ranks[users] = target_ranks(scores, holdout.targets[users])
        for cutoff, seen in recommended.items():
            seen[top_items(scores, cutoff)] = True
    coverage = {f"coverage@{cutoff}": float(seen.mean()) for cutoff, seen in recommended.items()}
    return Ranking(per_user_metrics(ranks), coverage)


def mean_ndcg(scorer: Scorer, holdout: Holdout) -> float:
    """Mean NDCG@10, the number that validation chooses by."""
    parts = [target_ranks(scores, holdout.targets[users]) for users, scores in _scored(scorer, holdout)]
    return float(ndcg(np.concatenate(parts), 10).mean())


def _scored(scorer: Scorer, holdout: Holdout) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
    """Blocks of users with their scores, history excluded."""
    for users in user_blocks(len(holdout.targets), holdout.histories.item_count):
        scores = np.array(scorer(users))
        exclude_history(scores, holdout, users)
        yield users, scores
