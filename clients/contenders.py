"""What a market has to recommend with, read back from its own folder: finished models, its data, the summed counts."""

import numpy as np
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from clients.node import MarketNode
from fedrec.errors import RunError
from fedrec.exchange.pairs import read_summed
from fedrec.floors.ease import ease_weights
from fedrec.recipe import TRAINED, EaseSettings, Recipe
from fedrec.semantics.factory import make_semantics
from fedrec.training.prior import ItemItem, fit_ease
from fedrec.training.report import Contenders
from fedrec.training.stages import LocalTrainer


def finished_contenders(node: MarketNode, recipe: Recipe) -> Contenders:
    """Every method of the recipe that this market can answer for.

    A model whose training failed is missing, was reported then, and the other methods still count.
    """
    market = node.prepare(recipe)
    trainers: dict[str, LocalTrainer] = {}
    for name in sorted(TRAINED & set(recipe.evaluation.methods)):
        if node.model(name).is_file():
            trainers[name] = LocalTrainer.alone(recipe, market) if name == "local" else federated_trainer(node, recipe)
            trainers[name].load(load_tensors(node.model(name)))
    return Contenders(recipe, market, trainers, shared_ease(node, recipe))


def federated_trainer(node: MarketNode, recipe: Recipe) -> LocalTrainer:
    """A trainer on the federation's semantics: those the server sent, or those that need no exchange."""
    market = node.prepare(recipe)
    semantics = make_semantics(recipe, recipe.semantics.kind)
    if not semantics.exchanges:
        return LocalTrainer.alone(recipe, market)
    received = load_arrays(node.semantics)["semantics"]
    return LocalTrainer(recipe, market, semantics.finish(received, market.evidence.keys))


def shared_ease(node: MarketNode, recipe: Recipe) -> ItemItem | None:
    """EASE on the counts of all markets, where they were summed; hyper-parameters chosen on this market's validation.

    ``restrict: before``: the counts received are those among this market's items. ``after``: among all items, so that
    the inverse knows of items sold elsewhere; then the market's own rows and columns are taken.
    """
    if not recipe.sums_counts:
        return None
    prepared = node.prepare(recipe)
    summed = read_summed(load_arrays(node.gram), prepared.train.item_count)
    counts, own = summed.counts.matrix(), summed.own
    settings = EaseSettings(lambdas=recipe.fedease.lambdas, popularity_weights=recipe.ease.popularity_weights)
    try:
        return fit_ease(lambda lam: ease_weights(counts, lam)[np.ix_(own, own)], prepared.validation, settings)
    except np.linalg.LinAlgError:
        raise RunError(
            f"the summed counts have no inverse at any of fedease.lambdas {recipe.fedease.lambdas}: "
            "add larger ones, or set fedease.min_count=1"
        ) from None
