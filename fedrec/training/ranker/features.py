"""Candidates of users, and what a ranker is told of each: scores of item-item models, and sales up to the user's day.

Nothing here reads what a holdout hides: histories and sales are those of its stage, and statistics are counted on train
rows, or for what is trained on, on train rows without everyone's last.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.data.sequences import DAY, Sequences
from fedrec.data.splits import Holdout
from fedrec.models.ranker_features import COUNTED, LARGEST, MODEL, OWN, SUMMED, USER_FEATURES, WEIGHTED, feature_names
from fedrec.training.evaluation import Scorer, excluded, user_blocks
from fedrec.training.prior import Weights, history_scores
from fedrec.training.ranker.sales import NEVER, Sales

_HALF_LIFE_DAYS, _STEP = 300.0, 0.8  # of the weights of a history
_WINDOWS = (0, 7, 30, 90, 365)  # days
_LONGEST = 5000  # days; what is older is as old
_SMALL = np.float32(0.01)  # breaks ties between candidates that a model says nothing of
_SCORES = 16  # matrices of users by items that are held at a time
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """What features are computed of: a market's own statistics, or its own and the others' together."""

    models: Mapping[str, Weights]  # [I, I]
    sales: Sales
    popularity: NDArray[np.float64]  # [I]


@dataclass(frozen=True)
class Candidates:
    """Lists of U users, one after the other; N candidates in all."""

    offsets: NDArray[np.int64]  # [U + 1]
    items: NDArray[np.int64]  # [N]
    features: Floats  # [N, D]
    users: Floats  # [U, 3]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Whose each candidate is, [N]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def joined(cls, parts: Sequence["Candidates"], features: int) -> "Candidates":
        """Lists of several blocks of users, or of none."""
        tables = (np.zeros((0, width), np.float32) for width in (features, len(USER_FEATURES)))
        every = [cls(np.zeros(1, np.int64), np.zeros(0, np.int64), *tables), *parts]
        sizes = np.concatenate([np.diff(part.offsets) for part in every])
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([part.items for part in every]),
            np.concatenate([part.features for part in every]),
            np.concatenate([part.users for part in every]),
        )


@dataclass(frozen=True)
class FeatureMaker:
    """Candidates and features of the users of one holdout.

    ``summed`` is None for a market that is alone; ``left_out``: groups of features, for ablations.
    """

    holdout: Holdout
    own: Source
    summed: Source | None
    per_scorer: int  # candidates that each of the scorers proposes
    left_out: Collection[str] = ()
    scorer: Scorer | None = None  # of a model whose scores are features too

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features, in their order."""
        return feature_names(self.summed is not None, self.left_out, self.scorer is not None)

    def blocks(self, users: int) -> list[NDArray[np.int64]]:
        """Places of so many users, in blocks whose scores under all models are held at once."""
        return user_blocks(users, self.holdout.histories.item_count * _SCORES)

    def everyone(self) -> Candidates:
        """Lists of all users."""
        return Candidates.joined([self.block(block) for block in self.blocks(len(self.holdout))], len(self.names))

    def block(self, users: NDArray[np.int64]) -> Candidates:
        """Lists of some of the users [B]."""
        histories = self.holdout.histories.take(users)
        weights = history_weights(histories)
        days = histories.last_times // int(DAY)  # [B]
        scores = {name: _scores(source, weights) for name, source in self._sources.items()}
        modelled = None if self.scorer is None else self.scorer(users)  # [B, I]
        chosen = self._candidates(users, days, scores, modelled)  # [B, I]
        rows, items = chosen.nonzero()
        columns: dict[str, NDArray[np.floating]] = {} if modelled is None else {MODEL: modelled[rows, items]}
        for name, source in self._sources.items():
            for model, weight in WEIGHTED:
                columns[f"{name}.{model}.{weight}"] = scores[name][model, weight][rows, items]
            columns[f"{name}.{LARGEST}"] = _largest(source.models["cosine"], histories)[rows, items]
            for count, values in zip(COUNTED, _counted(source, items, days[rows]), strict=True):
                columns[f"{name}.{count}"] = values
        lengths, same = histories.lengths, np.diff(weights["day"].indptr)
        return Candidates(
            np.concatenate([[0], np.cumsum(chosen.sum(axis=1))]).astype(np.int64),
            items.astype(np.int64),
            np.stack([columns[name] for name in self.names], axis=1).astype(np.float32),
            np.stack([np.log1p(lengths) - 2, same / lengths, np.log1p(same) - 1], axis=1).astype(np.float32),
        )

    @property
    def _sources(self) -> dict[str, Source]:
        return {OWN: self.own} if self.summed is None else {OWN: self.own, SUMMED: self.summed}

    def _candidates(
        self,
        users: NDArray[np.int64],
        days: NDArray[np.int64],
        scores: Mapping[str, Mapping[tuple[str, str], Floats]],
        modelled: Floats | None,
    ) -> NDArray[np.bool_]:
        """The best of every scorer, [B, I]. Popularity breaks ties: less among scores, more among logs of few sales."""
        barred = excluded(self.holdout, users)
        every = SUMMED if self.summed is not None else OWN
        popular = np.log1p(self.own.popularity).astype(np.float32)[None]
        wide = self._sources[every]
        proposals = [
            scores[every]["ease", "recent"] + _SMALL * popular,
            scores[OWN]["ease", "recent"] + _SMALL * popular,
            np.log1p(self.own.sales.window(days, 90)) + 10 * _SMALL * popular,
            np.broadcast_to(popular, barred.shape),
            scores[every]["following", "recent"],
            scores[every]["cosine_decayed", "recent"],
            scores[every]["next", "position"],
            np.log1p(wide.sales.window(days, 30)) + 10 * _SMALL * np.log1p(wide.popularity).astype(np.float32)[None],
            self.own.sales.window(days, 7) + _SMALL * popular,
            *([] if modelled is None else [modelled]),
        ]
        chosen = np.zeros(barred.shape, dtype=bool)
        count = min(self.per_scorer, barred.shape[1] - 1)
        for proposal in proposals:
            ranked = np.where(barred, -np.inf, proposal)
            best = np.argpartition(-ranked, count, axis=1)[:, :count]
            np.put_along_axis(chosen, best, True, axis=1)
        chosen[barred] = False
        return chosen


def history_weights(histories: Sequences) -> dict[str, sparse.csr_matrix]:
    """How much each item of a history counts, by name: matrices [B, I]."""
    lengths, days = histories.lengths, histories.times // int(DAY)
    age = np.repeat(histories.last_times // int(DAY), lengths) - days  # [N] days
    back = np.repeat(histories.offsets[1:] - 1, lengths) - np.arange(len(age))  # [N] steps
    weights = {
        "all": np.ones(len(age)),
        "recent": np.exp2(-age / _HALF_LIFE_DAYS),
        "position": _STEP**back,
        "last": (back == 0).astype(float),
        "day": (age == 0).astype(float),
    }
    shape = (len(histories), histories.item_count)
    result = {}
    for name, values in weights.items():
        matrix = sparse.csr_matrix((values.astype(np.float32), histories.items, histories.offsets), shape=shape)
        matrix.eliminate_zeros()
        result[name] = matrix
    return result


def _scores(source: Source, weights: Mapping[str, sparse.csr_matrix]) -> dict[tuple[str, str], Floats]:
    """Of every item [B, I], by model and weighting of the history."""
    return {(model, weight): history_scores(weights[weight], source.models[model]) for model, weight in WEIGHTED}


def _largest(similarity: Weights, histories: Sequences) -> Floats:
    """The largest similarity [B, I] of an item to any of the history's."""
    rows = sparse.csr_matrix(similarity)[histories.items].tocoo()  # [N, I]
    result = np.zeros((len(histories), histories.item_count), np.float32)
    np.maximum.at(result, (histories.users[rows.row], rows.col), rows.data)
    return result


def _counted(source: Source, items: NDArray[np.int64], days: NDArray[np.int64]) -> list[NDArray[np.floating]]:
    """In the order of ``COUNTED``."""
    sales, until = source.sales, source.sales.until(items, days)
    first, last = sales.first(items), sales.last(items, days)
    age = np.where(first == NEVER, -1, np.clip(days - first, -1, _LONGEST))
    return [
        *(np.log1p(until - sales.until(items, days - window - 1)) for window in _WINDOWS),
        np.log1p(until),
        np.log1p(age + 1.0),
        np.log1p(np.clip(days - last, 0, _LONGEST)),
        np.log1p(source.popularity[items]),
    ]
