"""The final evaluation of one market: every method on the same test users, and what the federation gained.

Test is read here and nowhere else. Per-user values stay in this process; the returned scalars are means, bounds of
intervals, and counts.
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.splits import Holdout
from fedrec.floors.popularity import popularity
from fedrec.metrics.significance import paired_bootstrap
from fedrec.recipe import Recipe
from fedrec.seeds import numpy_generator
from fedrec.training.evaluation import Ranking, Scorer, rank_users
from fedrec.training.mixing import fit_weights
from fedrec.training.prepared import PreparedMarket
from fedrec.training.prior import ItemPrior
from fedrec.training.stages import LocalTrainer

_MIXING_CELLS = 3_000_000  # validation users times items used to learn the mixing weights


def evaluate_market(
    recipe: Recipe, market: PreparedMarket, trainers: dict[str, LocalTrainer]
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Evaluate the recipe's methods.

    Args:
        recipe: what to measure.
        market: the market.
        trainers: the finished model of each trained method (``federated``, ``local``, ``local_shared_semantics``).

    Returns:
        scalars by name (``{method}.{metric}``, ``gain.{metric}.{mean,low,high}``, ``users``), and the learned mixing
        weights of each method that has the prior.
    """
    methods = set(recipe.evaluation.methods)
    test = market.test
    rankings: dict[str, Ranking] = {}
    weights: dict[str, NDArray[np.float64]] = {}
    scalars: dict[str, float] = {"users": float(len(test.targets))}
    if "popularity" in methods:
        popular = popularity(test.histories)
        rankings["popularity"] = rank_users(lambda users: np.tile(popular, (len(users), 1)), test)
    if "ease" in methods:
        rankings["ease"] = rank_users(lambda users: market.ease.scores(test, users), test)
        scalars |= {"ease.lam": market.ease.lam, "ease.popularity_weight": market.ease.popularity_weight}
    if trainers:
        users = _mixing_users(recipe, market)
        views = _prior(recipe, market, market.validation).views(users)
        for name, trainer in sorted(trainers.items()):
            rankings[f"{name}_without_prior"] = rank_users(trainer.scorer(test), test)
            own = trainer.scorer(market.validation)(users)[None]
            weights[name] = _learn(np.concatenate([own, views]), market.validation, users)
            rankings[name] = rank_users(_mixed(recipe, market, test, weights[name], trainer.scorer(test)), test)
        weights["prior"] = _learn(views, market.validation, users)
        rankings["prior"] = rank_users(_mixed(recipe, market, test, weights["prior"], None), test)
    for name, ranking in rankings.items():
        scalars |= {f"{name}.{metric}": value for metric, value in ranking.means().items()}
    if {"federated", "local"} <= set(rankings):
        scalars |= _gains(recipe, market.store.name, rankings["federated"], rankings["local"])
    return scalars, weights


def _prior(recipe: Recipe, market: PreparedMarket, holdout: Holdout) -> ItemPrior:
    return ItemPrior(market.ease, holdout, recipe.prior)


def _mixing_users(recipe: Recipe, market: PreparedMarket) -> NDArray[np.int64]:
    """A seeded sample of validation users, small enough for all scores to be held at once."""
    users = len(market.validation.targets)
    size = min(users, max(1, _MIXING_CELLS // market.train.item_count))
    generator = numpy_generator(recipe.seed, market.store.name, "mixing")
    return np.sort(generator.choice(users, size=size, replace=False))


def _learn(scores: NDArray[np.float32], holdout: Holdout, users: NDArray[np.int64]) -> NDArray[np.float64]:
    histories = holdout.histories.take(users)
    seen = np.zeros(scores.shape[1:], dtype=bool)
    seen[histories.users, histories.items] = True
    return fit_weights(scores, holdout.targets[users], seen)


def _mixed(
    recipe: Recipe,
    market: PreparedMarket,
    holdout: Holdout,
    weights: NDArray[np.float64],
    model: Scorer | None,
) -> Scorer:
    prior = _prior(recipe, market, holdout)

    def score(users: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = prior.views(users)
        if model is not None:
            parts = np.concatenate([model(users)[None], parts])
        return np.tensordot(weights.astype(np.float32), parts, axes=1)

    return score


def _gains(recipe: Recipe, name: str, federated: Ranking, local: Ranking) -> dict[str, float]:
    result: dict[str, float] = {}
    for metric in federated.users:
        generator = numpy_generator(recipe.seed, name, "bootstrap", metric)
        interval = paired_bootstrap(
            federated.users[metric] - local.users[metric], recipe.evaluation.resamples, generator
        )
        result |= {f"gain.{metric}.{part}": value for part, value in interval._asdict().items()}
    return result
