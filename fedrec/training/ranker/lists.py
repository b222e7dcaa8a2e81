"""Lists of candidates as a ranker takes them: scaled features, steps of training, ranks of targets."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedrec.data.splits import OUTSIDE, Holdout
from fedrec.metrics.ranking import target_ranks
from fedrec.training.ranker.features import Candidates

_WITHIN, _ACROSS = (-3.0, 8.0), (-4.0, 6.0)  # where scaled features are cut off
_LEAST = 1e-4  # added to a spread
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Moments:
    """Of features over all candidates of a market."""

    mean: Floats  # [D]
    spread: Floats

    @classmethod
    def of(cls, features: Floats) -> "Moments":
        """Of candidates [N, D]; N may be 0."""
        if not len(features):
            return cls(np.zeros(features.shape[1], np.float32), np.ones(features.shape[1], np.float32))
        mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        return cls(mean.astype(np.float32), (spread + _LEAST).astype(np.float32))


@dataclass(frozen=True)
class ListBatch:
    """Targets and other candidates of B lists; the target stands first."""

    candidates: Floats  # [B, K, 2D]
    users: Floats  # [B, 3]
    there: NDArray[np.bool_]  # [B, K]

    @classmethod
    def joined(cls, parts: "list[ListBatch]") -> "ListBatch":
        """Of several sets of lists."""
        return cls(
            np.concatenate([part.candidates for part in parts]),
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.there for part in parts]),
        )


@dataclass(frozen=True)
class Lists:
    """Candidates of the users of a holdout, N in all, and what scales their features."""

    candidates: Candidates
    moments: Moments

    @cached_property
    def _within(self) -> tuple[Floats, Floats]:
        """Mean and spread of the features of each user's candidates, [U, D]."""
        sizes = np.diff(self.candidates.offsets)
        features = self.candidates.features.astype(np.float64)

        def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
            ended = np.concatenate([values, np.zeros((1, values.shape[1]))])  # a last list may be empty
            total = np.add.reduceat(ended, self.candidates.offsets[:-1], axis=0)
            total[sizes == 0] = 0.0
            return np.asarray(total / np.maximum(sizes, 1)[:, None])

        mean = means(features)
        spread = np.sqrt(np.maximum(means(features**2) - mean**2, 0.0)) + _LEAST
        return mean.astype(np.float32), spread.astype(np.float32)

    def inputs(self, place: NDArray[np.int64]) -> Floats:
        """Features of some candidates [n, 2D]: against their list, and against the market."""
        features, (mean, spread) = self.candidates.features[place], self._within
        rows = self.candidates.rows[place]
        within = np.clip((features - mean[rows]) / spread[rows], *_WITHIN)
        across = np.clip((features - self.moments.mean) / self.moments.spread, *_ACROSS)
        return np.concatenate([within, across], axis=1)


@dataclass(frozen=True)
class TargetLists:
    """Lists whose targets are known: to learn from, and to evaluate on."""

    lists: Lists
    holdout: Holdout

    def __len__(self) -> int:
        return len(self.found)

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        """User and item of every candidate as one number, ascending, [N]."""
        candidates = self.lists.candidates
        return candidates.rows * self.holdout.histories.item_count + candidates.items

    @cached_property
    def _wanted(self) -> NDArray[np.int64]:
        """The same of every target, [T]; below zero for one that is in no catalogue."""
        holdout = self.holdout
        keys = holdout.rows * holdout.histories.item_count + holdout.targets
        return np.where(holdout.targets == OUTSIDE, -1, keys)

    @cached_property
    def is_target(self) -> NDArray[np.bool_]:
        """Which candidates are to be found, [N]."""
        return np.isin(self._keys, self._wanted)

    @cached_property
    def found(self) -> NDArray[np.int64]:
        """Places of those candidates, [E]: a target that was never proposed is not among them."""
        return np.flatnonzero(self.is_target)

    def ranks(self, scores: Floats) -> NDArray[np.float64]:
        """Of every target [T] by scores of all candidates [N]; infinite where a target is no candidate."""
        candidates, found = self.lists.candidates, self.found
        rows = candidates.rows
        place = np.arange(len(scores)) - candidates.offsets[rows]
        table = np.full((len(candidates), int(np.diff(candidates.offsets).max(initial=1))), -np.inf, np.float32)
        table[rows, place] = scores
        ranks = np.full(len(self._wanted), np.inf)
        order = np.argsort(self._wanted, kind="stable")
        where = order[np.searchsorted(self._wanted[order], self._keys[found])]
        ranks[where] = target_ranks(table, place[found], rows[found])
        return ranks

    def batch(self, examples: NDArray[np.int64], wanted: int, generator: np.random.Generator) -> ListBatch:
        """Some targets [B], each with up to ``wanted`` other candidates of its list, drawn without replacement."""
        candidates, target = self.lists.candidates, self.found[examples]
        rows = candidates.rows[target]
        starts, sizes = candidates.offsets[rows], np.diff(candidates.offsets)[rows]
        chance = generator.random((len(rows), max(int(sizes.max(initial=0)), wanted)))
        chance[np.arange(chance.shape[1]) >= sizes[:, None]] = 2.0
        drawn = np.argsort(chance, axis=1)[:, :wanted]  # [B, K]
        inside = drawn < sizes[:, None]
        place = np.where(inside, starts[:, None] + drawn, target[:, None])
        there = inside & ~self.is_target[place]  # the user's other targets are no wrong answers
        place = np.column_stack([target, place])
        inputs = self.lists.inputs(place.ravel()).reshape(*place.shape, -1)
        return ListBatch(inputs, candidates.users[rows], np.column_stack([np.ones(len(rows), bool), there]))
