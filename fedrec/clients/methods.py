"""What a market has to recommend with, read back from its own folder: finished models, its data, the summed counts."""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from fedrec.arrays import load_whole, read_arrays
from fedrec.clients.node import MarketNode
from fedrec.clients.question import received, scored_by
from fedrec.components.algorithm import Need, algorithm_of
from fedrec.errors import RunError, UserError
from fedrec.exchange.noised_pairs import PAIRS, RIDGE, read_ridged, symmetric
from fedrec.exchange.pairs import read_summed
from fedrec.exchange.payload import SCORES
from fedrec.exchange.statistics import Statistics, read_statistics
from fedrec.files import read_json, reading
from fedrec.models.adaptor import ItemCodes
from fedrec.recipe import ALONE, TRAINED, Recipe, recipe_json
from fedrec.seeds import numpy_generator
from fedrec.semantics.factory import make_semantics
from fedrec.training.codes import CodeTable, MarketCodes
from fedrec.training.known import Known, Scores
from fedrec.training.prior import ItemItem, Weights, ease_model, fit_ease
from fedrec.training.ranker.sources import market_statistics
from fedrec.training.report import Methods
from fedrec.training.sequential import SequentialTrainer
from fedrec.training.stages import LocalTrainer


def finished_methods(node: MarketNode, recipe: Recipe) -> Methods:
    """Every method of the recipe that this market can answer for.

    A model whose training failed is missing, was reported then, and the other methods still count.
    """
    market = node.prepare(recipe)
    trainers: dict[str, LocalTrainer[Any]] = {}
    for name in sorted(TRAINED & set(recipe.evaluation.methods)):
        if node.model(name).is_file():
            trainers[name] = make_trainer(node, recipe, name)
            load_finished(node, trainers[name], name)
    mixed = algorithm_of(recipe).mixed
    return Methods(recipe.evaluation, recipe.prior, market, mixed, recipe.seed, trainers, shared_ease(node, recipe))


def load_finished(node: MarketNode, trainer: LocalTrainer[Any], name: str) -> None:
    """A method's finished model: all of it, and the very bytes that its training left.

    Raises :class:`fedrec.errors.UserError` for a file that is anything else.
    """
    path, note = node.model(name), node.note(name)
    if note.is_file() and read_json(note).get("sha256") != hashlib.sha256(path.read_bytes()).hexdigest():
        raise UserError(f"{path}: not the model that was trained ({note.name} has its hash); restore it, or run again")
    load_whole(trainer.model, path)


def make_trainer(node: MarketNode, recipe: Recipe, method: str) -> LocalTrainer[Any]:
    """An untrained model of a method, on what the federation says of the items or on what this market knows alone."""
    trainer: type[LocalTrainer[Any]] = algorithm_of(recipe).trainer()
    return trainer.of(recipe, node.prepare(recipe), _known(node, recipe, method))


def shared_trainer(node: MarketNode, recipe: Recipe) -> LocalTrainer[Any]:
    """That of the federation's rounds, remembered within this process: rounds change only what each loads anew."""
    built_on = recipe_json(recipe) + received(node, "federated")
    return node.remember("shared trainer", built_on, lambda: make_trainer(node, recipe, "federated"))


def own_statistics(node: MarketNode, recipe: Recipe) -> Statistics:
    """What this market says of its train histories; raises :class:`RunError` where the recipe sums no statistics."""
    min_count = algorithm_of(recipe).min_count
    if min_count is None or not recipe.sums_statistics:
        raise RunError("this recipe sums no statistics; none are sent")
    train = node.prepare(recipe).train
    return node.remember("statistics", recipe_json(recipe), lambda: market_statistics(train, min_count))


def make_sequential_trainer(node: MarketNode, recipe: Recipe, method: str) -> SequentialTrainer:
    """The same where only the sequential trainer will do: private steps, which are tried there, and attacks."""
    trainer = make_trainer(node, recipe, method)
    if type(trainer) is not SequentialTrainer:
        raise RunError(f"algorithm.kind {recipe.algorithm.kind!r} has a trainer of its own, never tried here")
    return trainer


def _known(node: MarketNode, recipe: Recipe, method: str) -> Known:
    """What the algorithm needs, as far as ``method`` may know it."""
    vocabulary: list[str] = []
    if Need.VOCABULARY in recipe.needs:
        with reading(node.vocabulary):
            vocabulary = read_json(node.vocabulary)["items"]
    codes = item_codes(node, recipe, method) if Need.CODES in recipe.needs else None
    semantics, vectors = make_semantics(recipe.semantics, recipe.seed), None
    if Need.ITEM_VECTORS in recipe.needs and semantics.exchanges and method not in ALONE:
        keys = node.prepare(recipe).evidence.keys
        with reading(node.semantics):
            vectors = semantics.finish(read_arrays(node.semantics)["semantics"], keys)
    return Known(vocabulary, vectors, codes, _statistics(node, recipe, method), _scores(node, recipe, method))


def _scores(node: MarketNode, recipe: Recipe, method: str) -> Scores | None:
    """Those of the finished model of section ``scores``: of all markets, or for a baseline, of this one alone."""
    if not recipe.scores.on:
        return None
    part, name = node.within(SCORES), scored_by(node, method).stem
    if not part.model(name).is_file():
        raise RunError("the model whose scores are a feature is not finished in this market")
    trainer = make_trainer(part, recipe.scoring, name)
    load_finished(part, trainer, name)
    return trainer.scorer


def _statistics(node: MarketNode, recipe: Recipe, method: str) -> Statistics | None:
    """What the other markets say of this one's items."""
    if method in ALONE or not recipe.sums_statistics:
        return None
    with reading(node.statistics):
        return read_statistics(read_arrays(node.statistics), len(node.prepare(recipe).items), 1)


def codes_of(node: MarketNode, recipe: Recipe, method: str, users: int, items: int) -> MarketCodes:
    """What a method says of the market's users and items: its codes, random ones, or none at all."""
    if method == "nocodes":
        return MarketCodes(CodeTable.none(users), CodeTable.none(items))
    sizes = recipe.codes.sizes
    if method == "randomcodes":
        generator = numpy_generator(recipe.seed, node.store.name, "random codes")
        return MarketCodes(CodeTable.random(users, sizes, generator), CodeTable.random(items, sizes, generator))
    with reading(node.codes(method)):
        return MarketCodes.read(read_arrays(node.codes(method)), sizes)


def item_codes(node: MarketNode, recipe: Recipe, method: str) -> ItemCodes:
    """The codes of the items for a sequential model; without codes, every item is a code of its own."""
    items = len(node.prepare(recipe).items)
    if method == "nocodes":
        return ItemCodes(torch.arange(items)[:, None], (items,), torch.zeros(items, 0, dtype=torch.int64), ())
    table = codes_of(node, recipe, method, 0, items).items
    common = len(recipe.codes.global_levels)
    codes = torch.from_numpy(table.codes)
    return ItemCodes(codes[:, :common], table.sizes[:common], codes[:, common:], table.sizes[common:])


def shared_ease(node: MarketNode, recipe: Recipe) -> ItemItem | None:
    """EASE on the counts of all markets, where they were summed; hyper-parameters chosen on this market's validation.

    ``restrict: before``: the counts received are those among this market's items. ``after``: among all items, so that
    the inverse knows of items sold elsewhere; then the market's own rows and columns are taken. Under privacy the
    counts are noised pairs, and every lambda is so much larger as noise may make an eigenvalue negative.
    """
    if not recipe.sums_counts:
        return None
    prepared = node.prepare(recipe)
    arrays, items, ridge = read_arrays(node.gram), prepared.train.item_count, 0.0
    counts: sparse.csr_matrix | NDArray[np.float64]
    with reading(node.gram):
        if recipe.privacy.on:
            noised = read_ridged(arrays, items)
            counts, own = symmetric(noised[PAIRS], items).astype(np.float64), np.arange(items)
            ridge = float(noised[RIDGE][0])
        else:
            summed = read_summed(arrays, items)
            counts, own = summed.counts.matrix(), summed.own
    settings = recipe.ease.model_copy(update={"lambdas": recipe.fedease.lambdas})

    def weights_at(lam: float) -> Weights:
        weights = ease_model(counts, lam + ridge, settings)[own][:, own]
        # Picked so, a matrix lies column by column, and every product with histories would copy the whole of it.
        return np.ascontiguousarray(weights) if isinstance(weights, np.ndarray) else weights

    try:
        return fit_ease(weights_at, prepared.validation, settings)
    except np.linalg.LinAlgError:
        raise RunError(
            f"the summed counts have no inverse at any of fedease.lambdas {recipe.fedease.lambdas}: "
            "add larger ones, or set fedease.min_count=1"
        ) from None
