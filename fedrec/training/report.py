"""The final evaluation of one market: every method on the same test users, and how much they differ.

Test is read here and nowhere else. Per-user values stay in this process; the returned scalars are means, bounds of
intervals, and counts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.baselines.popularity import popularity
from fedrec.components.registry import find
from fedrec.data.splits import Holdout
from fedrec.metrics.significance import paired_bootstraps
from fedrec.recipe import ALONE, HEADLINES, EvaluationSettings, PriorSettings
from fedrec.seeds import numpy_generator
from fedrec.training.evaluation import Ranking, Scorer, excluded, rank_users, user_blocks
from fedrec.training.mixing import fit_weights
from fedrec.training.prepared import PreparedMarket
from fedrec.training.prior import ItemItem, item_views, popularity_views
from fedrec.training.stages import LocalTrainer

_MIXING_CELLS = 3_000_000  # scores per part used to learn the mixing weights
VIEWS = 3  # of an item-item model and of popularity; a trained model is one
Part = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # users [B] -> scores [k, B, I]
MixingWeights = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class MarketReport:
    """What the evaluation of one market found. ``scalars`` may leave, the rest may not."""

    scalars: dict[str, float]
    weights: dict[str, NDArray[np.float64]]  # learned mixing weights of each mixed method
    rankings: dict[str, Ranking]


@dataclass(frozen=True)
class Methods:
    """Everything a market has to recommend with, when its training is over.

    ``trainers`` hold the finished model of each trained method; ``shared`` is EASE on the counts of all markets.
    """

    evaluation: EvaluationSettings
    prior: PriorSettings
    market: PreparedMarket
    mixed: bool = False  # whether scores of the trained models are mixed with others
    seed: int = 0
    trainers: Mapping[str, LocalTrainer[Any]] = field(default_factory=dict)
    shared: ItemItem | None = None

    @property
    def mixes(self) -> dict[str, tuple[str, ...]]:
        """Of which parts each mixed method consists."""
        prior = ("own", "popular")
        mixed = sorted(self.trainers) if self.mixed else []
        result = {name: (name, *self._federated(name), *prior) for name in mixed}
        if mixed:
            result["prior"] = prior
        if self.shared is not None and "fedease" in self.evaluation.methods:
            result["fedease"] = ("shared", *prior)
        return result

    @property
    def views(self) -> dict[str, int]:
        """How many weights each mix has."""
        return {name: sum(1 if part in self.trainers else VIEWS for part in mix) for name, mix in self.mixes.items()}

    def parts(self, holdout: Holdout, trained: Iterable[str]) -> dict[str, Part]:
        """What is mixed at one stage, of the models only ``trained``, for their scores may take long to prepare.

        A part computes each block of users once, however many methods use it.
        """
        settings = self.prior
        parts: dict[str, Part] = {
            "own": lambda users: item_views(self.market.ease.weights, holdout, settings, users),
            "popular": partial(popularity_views, holdout, settings),
        }
        if self.shared is not None:
            parts["shared"] = partial(item_views, self.shared.weights, holdout, settings)
        for name in trained:
            parts[name] = partial(_stacked, self.trainers[name].scorer(holdout))
        return {name: _remembering(part) for name, part in parts.items()}

    def learn_weights(self) -> dict[str, NDArray[np.float64]]:
        """How much each part counts in each mix, learned on validation users."""
        if not self.mixes:
            return {}
        holdout = self.market.validation.reachable()
        if not len(holdout):  # nothing says that one part is better than another
            return {name: np.ones(count) for name, count in self.views.items()}
        mixed = sorted(self.trainers.keys() & self.mixes.keys())
        users, parts = self._mixing_users(holdout), self.parts(holdout, mixed)
        return {name: _learn([parts[part] for part in mix], holdout, users) for name, mix in self.mixes.items()}

    def scorers(self, holdout: Holdout, weights: MixingWeights) -> dict[str, Scorer]:
        """Every method the recipe asks for, at one stage."""
        methods = set(self.evaluation.methods)
        parts = self.parts(holdout, self.trainers)
        scorers: dict[str, Scorer] = {}
        if "popularity" in methods:
            scorers["popularity"] = lambda users: np.tile(popularity(holdout.known), (len(users), 1))
        if "itemknn" in methods:
            scorers["itemknn"] = partial(self.market.itemknn.scores, holdout)
        if "ease" in methods:
            scorers["ease"] = partial(self.market.ease.scores, holdout)
        if self.shared is not None and "fedease" in methods:
            scorers["fedease_without_prior"] = partial(self.shared.scores, holdout)
        for name in self.trainers:
            scorers[f"{name}_without_prior" if name in self.mixes else name] = partial(_first, parts[name])
        for name, mix in self.mixes.items():
            scorers[name] = partial(_mixed, [parts[part] for part in mix], weights[name])
        return scorers

    def chosen(self) -> dict[str, float]:
        """Hyper-parameters that validation chose for what is used."""
        methods = set(self.evaluation.methods)
        fitted = {
            "ease": self.market.ease if "ease" in methods or self.mixes else None,
            "itemknn": self.market.itemknn if "itemknn" in methods else None,
            "fedease": self.shared,
        }
        return {f"{name}.{key}": v for name, model in fitted.items() if model for key, v in model.chosen.items()}

    def _federated(self, name: str) -> tuple[str, ...]:
        """The summed counts, where the recipe adds them to a model that is not alone."""
        alone = name in {*ALONE, "local_shared_semantics"}
        return ("shared",) if self.prior.federated and self.shared is not None and not alone else ()

    def _mixing_users(self, holdout: Holdout) -> NDArray[np.int64]:
        """A seeded sample of validation users, small enough for all scores to be held at once."""
        ranked = holdout.histories.item_count if holdout.candidates is None else holdout.candidates.shape[1] + 1
        size = min(len(holdout), max(1, _MIXING_CELLS // ranked))
        generator = numpy_generator(self.seed, self.market.store.name, "mixing")
        return np.sort(generator.choice(len(holdout), size=size, replace=False))


def evaluate_market(methods: Methods) -> MarketReport:
    """Evaluate the recipe's methods on the test users.

    Scalars: ``{method}.{metric}``, ``difference.{method}.{other}.{metric}.{mean,low,high}`` for each headline method
    against every other (paired per user, percentile bootstrap), chosen hyper-parameters, ``users``, ``catalogue`` (how
    many items are ranked), ``outside`` (share of the targets that are not among them: misses for every method).
    """
    test = methods.market.test
    weights = methods.learn_weights()
    settings = methods.evaluation
    metrics = [find("metric", one.kind)(one) for one in settings.metrics]
    scorers = methods.scorers(test, weights)
    rankings = rank_users(scorers, test, metrics, settings.cutoffs, methods.market.train)
    ranked = len(methods.market.items) if test.catalogue is None else int(test.catalogue.sum())
    scalars = {"users": float(len(test)), "catalogue": float(ranked), "outside": test.outside, **methods.chosen()}
    for name, ranking in rankings.items():
        scalars |= {f"{name}.{metric}": value for metric, value in ranking.means().items()}
    return MarketReport(scalars | _differences(methods, rankings), weights, rankings)


def _stacked(scorer: Scorer, users: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(scorer(users), np.float32)[None]


def _first(part: Part, users: NDArray[np.int64]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = part(users)[0]
    return scores


def _remembering(part: Part) -> Part:
    """Keep the last block's scores."""
    last: dict[bytes, NDArray[np.float32]] = {}

    def compute(users: NDArray[np.int64]) -> NDArray[np.float32]:
        key = users.tobytes()
        if key not in last:
            last.clear()
            last[key] = part(users)
        return last[key]

    return compute


def _learn(parts: list[Part], holdout: Holdout, users: NDArray[np.int64]) -> NDArray[np.float64]:
    rows, targets = holdout.targets_of(users)
    if holdout.candidates is None:
        scores = np.concatenate([part(users) for part in parts])  # [K, B, I]
        return fit_weights(scores, targets, excluded(holdout, users), rows)
    # Few candidates: keep their scores only, block by block. A user has one target here; it comes last.
    ranked = np.column_stack([holdout.candidates[users], targets])  # [B, C + 1]
    blocks = []
    for block in user_blocks(len(users), holdout.histories.item_count):
        full = np.concatenate([part(users[block]) for part in parts])  # [K, b, I]
        blocks.append(np.take_along_axis(full, ranked[block][None], axis=2))
    nothing = np.zeros(ranked.shape, dtype=bool)
    return fit_weights(np.concatenate(blocks, axis=1), np.full(len(users), ranked.shape[1] - 1), nothing)


def _mixed(parts: list[Part], weights: NDArray[np.float64], users: NDArray[np.int64]) -> NDArray[np.float32]:
    scores = np.concatenate([part(users) for part in parts])  # [K, B, I]
    return np.tensordot(weights.astype(np.float32), scores, axes=1)


def _differences(methods: Methods, rankings: Mapping[str, Ranking]) -> dict[str, float]:
    """Every headline method against every other, on the same resampled users."""
    pairs = [
        (method, other)
        for method in HEADLINES
        if method in rankings
        for other in rankings
        if other != method and not other.endswith("_without_prior")
    ]
    if not pairs:
        return {}
    metrics = list(rankings[pairs[0][0]].users)
    names = [f"difference.{method}.{other}.{metric}" for method, other in pairs for metric in metrics]
    values = np.stack(
        [
            rankings[method].users[metric] - rankings[other].users[metric]
            for method, other in pairs
            for metric in metrics
        ],
        axis=1,
    )  # [U, pairs * metrics]
    generator = numpy_generator(methods.seed, methods.market.store.name, "bootstrap")
    intervals = paired_bootstraps(values, methods.evaluation.resamples, generator)
    return {
        f"{name}.{part}": value
        for name, interval in zip(names, intervals, strict=True)
        for part, value in interval._asdict().items()
    }
