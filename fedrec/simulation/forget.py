"""``fedrec forget``: a run as if one user had never been there.

Counts are sums over users, so what is left of them is checked by subtraction: the old ones less this user's must be
the new ones, to the last pair. Models are no sums; they are trained again, from the beginning, without the user.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from fedrec.arrays import read_arrays
from fedrec.clients.node import MarketNode
from fedrec.data.erase import erase_user
from fedrec.data.families import own_families, write_own_families
from fedrec.data.splits import Split
from fedrec.data.store import MarketStore, open_stores
from fedrec.errors import RunError, UserError
from fedrec.exchange.noised_pairs import PAIRS
from fedrec.exchange.pairs import count_pairs, read_summed
from fedrec.files import new_folder
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe
from fedrec.simulation.run import FinishedRun, open_finished, prepare_simulation


@dataclass(frozen=True)
class Forgotten:
    """What was done. ``subtracted``: markets whose new counts are the old ones less the user's, checked.

    ``families``: what became of the family map; None where there is none. ``texts``: whether there are item texts.
    """

    interactions: int
    subtracted: list[str]
    families: Literal["rebuilt", "kept"] | None
    texts: bool
    summary: dict[str, Any]


def forget(path: Path, market: str, user: str, data: Path, out: Path, progress: Progress = no_progress) -> Forgotten:
    """Write the data without ``user`` of ``market`` to ``data``, and a run on them to ``out``.

    Raises :class:`UserError` for whoever is not there, :class:`RunError` where the counts do not add up.
    """
    finished = open_finished(path)
    manifest = finished.run.read_manifest()
    if manifest["start_from"]:
        raise UserError(f"{path}: adapts a model that others trained; forget the user there")
    if finished.run.warm_start.is_dir():
        raise UserError(
            f"{path}: began with the model of {manifest['warm_start']}, which may know the user; forget the user "
            "there, then run again with --warm-start of what that makes, or without"
        )
    stores = {store.name: store for store in finished.stores}
    if market not in stores:
        raise UserError(f"--market {market!r}: not in {path}; it has {', '.join(stores)}")
    with new_folder(data) as scratch:
        interactions = 0
        for name, store in stores.items():
            if name == market:
                interactions = erase_user(store, user, scratch / name)
            else:
                shutil.copytree(store.path, scratch / name)
        families = _map_families(finished.stores, open_stores(scratch))
    progress("training without the user")
    summary = prepare_simulation(finished.recipe, data, out).start()
    progress("checking the counts")
    subtracted = _check_counts(finished, open_finished(out), market, user)
    return Forgotten(interactions, subtracted, families, stores[market].has_text, summary)


def _map_families(old: Sequence[MarketStore], new: Sequence[MarketStore]) -> Literal["rebuilt", "kept"] | None:
    """Build the map of families again, where it was made of these markets' interactions, the user's among them."""
    if not any(store.families is not None for store in old):
        return None
    if {store.name: store.families for store in old} != own_families(old):
        return "kept"
    write_own_families(new)
    return "rebuilt"


def _check_counts(before: FinishedRun, after: FinishedRun, market: str, user: str) -> list[str]:
    """The markets whose counts were checked: all, where counts were summed as they are."""
    recipe = before.recipe
    redrawn = recipe.data.user_share < 1 or recipe.evaluation.ties == "random" or recipe.evaluation.protocol == "acmr"
    if (
        not recipe.sums_counts
        or recipe.privacy.on
        or recipe.fedease.min_count > 1
        or redrawn
        or _remapped(before, after)
    ):
        return []  # no counts, noised, rare ones held back, or others' items or what is held out of them drawn anew
    theirs, keys = _pairs_of(before, recipe, market, user)
    checked = []
    for old_store, new_store in zip(before.stores, after.stores, strict=True):
        old_node = MarketNode(old_store, before.run.markets / old_store.name)
        new_node = MarketNode(new_store, after.run.markets / new_store.name)
        (old, old_keys), (new, new_keys) = (_counts(node, recipe) for node in (old_node, new_node))
        expected = old - _placed(theirs, keys, old_keys)
        if (expected != _placed(new, new_keys, old_keys)).nnz:
            raise RunError(f"market {old_store.name!r}: its counts are not the old ones less this user's")
        checked.append(old_store.name)
    return checked


def _remapped(before: FinishedRun, after: FinishedRun) -> bool:
    """Whether an item that is still there belongs to another family than before."""
    maps = [(old.families or {}, new.families or {}) for old, new in zip(before.stores, after.stores, strict=True)]
    return any(old[item] != family for old, new in maps for item, family in new.items())


def _pairs_of(run: FinishedRun, recipe: Recipe, market: str, user: str) -> tuple[sparse.csr_matrix, list[str]]:
    """What the user had added to the counts, over the market's items."""
    store = next(store for store in run.stores if store.name == market)
    split = _split(MarketNode(store, run.run.markets / market), recipe)
    place = np.searchsorted(split.learners, split.users.index(user))
    there = place < len(split.learners) and split.users[split.learners[place]] == user
    own = split.train.take(np.array([place] if there else [], np.int64))
    return count_pairs(own.matrix(), 1, diagonal=True).matrix(), split.items


def _counts(node: MarketNode, recipe: Recipe) -> tuple[sparse.csr_matrix, list[str]]:
    """The summed counts among a market's own items."""
    items = _split(node, recipe).items
    arrays = read_arrays(node.gram)
    if PAIRS in arrays:
        raise RunError(f"market {node.store.name!r}: its counts are noised, there is nothing to subtract from")
    summed = read_summed(arrays, len(items))
    return summed.counts.restricted(summed.own).matrix(), items


def _split(node: MarketNode, recipe: Recipe) -> Split:
    return node.prepare(recipe).split


def _placed(matrix: sparse.csr_matrix, keys: list[str], wanted: list[str]) -> sparse.csr_matrix:
    """The matrix over other keys: those it does not have are empty."""
    place = {key: index for index, key in enumerate(wanted)}
    index = np.array([place.get(key, -1) for key in keys], np.int64)
    found = matrix.tocoo()
    rows, columns = index[found.row], index[found.col]
    inside = (rows >= 0) & (columns >= 0)
    shape = (len(wanted), len(wanted))
    return sparse.csr_matrix((found.data[inside], (rows[inside], columns[inside])), shape=shape)
