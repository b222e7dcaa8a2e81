"""``report.html`` of a finished run; where the data are on this machine, with what only they can show."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from fedrec.arrays import load_whole
from fedrec.clients.methods import codes_of, make_trainer
from fedrec.clients.node import MarketNode
from fedrec.clients.seal import check_seal
from fedrec.errors import UserError
from fedrec.recipe import Recipe
from fedrec.report.run_figures import CodeUse, ItemMap
from fedrec.report.run_page import PAGE, Seen, write_run_page
from fedrec.runs.folder import RunFolder
from fedrec.seeds import numpy_generator
from fedrec.simulation.run import FinishedRun, open_finished
from fedrec.threads import single_threaded

_ITEMS = 400  # of a market at most on the map
_MARKETS = 30
_METHOD = "federated"


def write_page(path: Path) -> Path:
    """Write a finished run's page and figures; returns the page.

    Where the data are elsewhere, or no longer what the run was trained on, a page that is there stays as it is, and a
    new one has neither item map nor code use.
    """
    try:
        finished = open_finished(path)
    except UserError:
        run = RunFolder.open(path)
        run.read_summary()  # an unfinished run has no page at all
        return run.path / PAGE if (run.path / PAGE).is_file() else write_run_page(run)
    with single_threaded():
        return write_run_page(finished.run, Seen(item_map(finished), code_use(finished)))


def item_map(finished: FinishedRun) -> ItemMap | None:
    """Item vectors of the finished federated models, a sample of each market, on their first two components.

    Of many markets the largest: more colours than that nobody tells apart.
    """
    markets: list[str] = []
    parts: list[NDArray[np.float32]] = []
    drawn = {store.name for store in sorted(finished.stores, key=lambda store: -store.count)[:_MARKETS]}
    for node in _nodes(finished):
        if finished.recipe.task == "ctr" or node.store.name not in drawn or not node.model(_METHOD).is_file():
            continue
        vectors = _item_vectors(node, finished.recipe)
        if vectors is None:
            continue
        generator = numpy_generator(finished.recipe.seed, node.store.name, "item map")
        chosen = np.sort(generator.permutation(len(vectors))[:_ITEMS])
        markets += [node.store.name] * len(chosen)
        parts.append(vectors[chosen])
    if not parts:
        return None
    projection = PCA(n_components=2, svd_solver="full")
    places = projection.fit_transform(np.concatenate(parts).astype(np.float64))  # [N, 2]
    return ItemMap(markets, places, float(projection.explained_variance_ratio_.sum()))


def code_use(finished: FinishedRun) -> list[CodeUse]:
    """Items under each code of the common levels, market by market; empty for a run without codes."""
    recipe = finished.recipe
    counts: dict[str, list[NDArray[np.int64]]] = {}
    for node in _nodes(finished):
        if not recipe.uses_codes or not node.codes(_METHOD).is_file():
            continue
        table = codes_of(node, recipe, _METHOD, 0, 0).items
        common = table.codes.T[: len(recipe.codes.global_levels)]
        # The code one past the last means that nothing is known of the item.
        counts[node.store.name] = [
            np.bincount(codes, minlength=size + 1)[:size] for codes, size in zip(common, table.sizes, strict=False)
        ]
    levels = len(next(iter(counts.values()), []))
    return [CodeUse(level + 1, {name: own[level] for name, own in counts.items()}) for level in range(levels)]


def _nodes(finished: FinishedRun) -> Iterator[MarketNode]:
    """Those whose evaluation did not fail, with all that it was made of."""
    for store in finished.stores:
        node = MarketNode(store, finished.run.markets / store.name)
        if node.finished:
            check_seal(node, finished.recipe)
            yield node


@torch.inference_mode()
def _item_vectors(node: MarketNode, recipe: Recipe) -> NDArray[np.float32] | None:
    """What the finished model makes of the items that the market sells, as directions [I, d]; None where nothing."""
    trainer = make_trainer(node, recipe, _METHOD)
    load_whole(trainer.model, node.model(_METHOD))
    trainer.model.eval()
    found = trainer.item_vectors()
    if found is None:
        return None
    vectors: NDArray[np.float32] = found.cpu().numpy()
    return vectors[node.prepare(recipe).sold]
