"""``pooled`` for codes: vectors, codebook and codes made of all markets' rows in one place, as no federation may.

One factorisation of all users over the union of the items, one autoencoder over the union's items, all its levels
common; each market then keeps the codes of its own users and items.
"""

import time
from collections.abc import Sequence

import numpy as np
from safetensors.numpy import save as save_arrays

from fedrec.clients.node import MarketNode
from fedrec.data.sequences import Sequences
from fedrec.data.store import MarketStore
from fedrec.files import write_atomic
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.semantics.base import ItemVectors
from fedrec.server.catalogues import Union
from fedrec.simulation.pooled import pooled_semantics
from fedrec.threads import single_threaded
from fedrec.training.codes import CodeInputs, CodeTable, CodeTrainer, MarketCodes, train_codes_alone
from fedrec.training.collaborative import factorise
from fedrec.training.prepared import PreparedMarket


def make_pooled_codes(recipe: Recipe, stores: Sequence[MarketStore], run: RunFolder) -> None:
    """Make the codes and leave each market's in its folder. ``recipe`` must be resolved."""
    targets = {store.name: MarketNode(store, run.markets / store.name).codes("pooled") for store in stores}
    if all(path.is_file() for path in targets.values()):
        return
    started = time.perf_counter()
    run.event("stage", action="pooled", markets=sorted(targets))
    with single_threaded():
        markets = [PreparedMarket(store, recipe) for store in stores]
        union = Union.of({market.store.name: market.items for market in markets})
        rows = _stacked(markets, union)
        vectors, _ = factorise(rows, recipe.collaborative, recipe.seed, "pooled")
        semantics = _union_semantics(recipe, markets, union)
        items = CodeInputs.of_items(semantics, vectors, recipe.alignment, rows.item_counts())
        trainer = CodeTrainer(recipe.codes, recipe.alignment, items, recipe.seed, "pooled")
        train_codes_alone(trainer)
        item_codes = trainer.codes(items)
        user_codes = trainer.codes(CodeInputs.of_users(items, vectors, rows.matrix()))
        start = 0
        for market in markets:
            end = start + len(market.train)
            own = union.index[market.store.name]
            found = MarketCodes(
                CodeTable(user_codes.codes[start:end], user_codes.sizes),
                CodeTable(item_codes.codes[own], item_codes.sizes),
            )
            write_atomic(targets[market.store.name], save_arrays(found.arrays()))
            start = end
    run.event("stage_done", action="pooled", results={}, seconds=time.perf_counter() - started)


def _stacked(markets: Sequence[PreparedMarket], union: Union) -> Sequences:
    """All markets' rows over the union of their items, users one after the other."""
    lengths = np.concatenate([market.train.lengths for market in markets])
    return Sequences(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([union.index[market.store.name][market.train.items] for market in markets]),
        np.concatenate([market.train.times for market in markets]),
        len(union.items),
    )


def _union_semantics(recipe: Recipe, markets: Sequence[PreparedMarket], union: Union) -> ItemVectors:
    """The item vectors that the markets have, item by item of the union."""
    vectors = np.zeros((len(union.items), recipe.semantics.dimension), np.float32)
    known = np.zeros(len(union.items), bool)
    for market, semantics in zip(markets, pooled_semantics(recipe, markets), strict=True):
        own = union.index[market.store.name]
        vectors[own], known[own] = semantics.vectors, semantics.known
    return ItemVectors(vectors, known)
