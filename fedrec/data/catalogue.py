"""What is ranked: the items that were known before what is held out.

An item that only a held-out row mentions would give that row away to whoever asks "in the catalogue, never sold?". So a
market's catalogue holds the items of its train rows at validation, and of its train and validation rows at the test,
whoever made them; it is the same for every method of a run. What other markets sell never decides which of a market's
own items are in it, for that leaks again: the union of all markets' catalogues is a setting of its own.

Under privacy what leaves must not be numbered by what users bought, for a user who brings a new item would change
everything. There models and statistics go over a list that the operator declares, and what is ranked is a part of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedrec.data.draws import UserDraws
from fedrec.data.market_rows import MarketRows, declared_items, label_rows, read_rows
from fedrec.data.protocols import LEARN, TRAIN, VALIDATION, Labels
from fedrec.data.store import MarketStore
from fedrec.recipe import EvaluationSettings


@dataclass(frozen=True)
class Vocabulary:
    """Sorted keys of the items that are ranked."""

    items: list[str]  # all that models know
    learned: list[str]  # ranked at validation; some of ``items``
    tested: list[str] | None = None  # ranked at the test; some of ``items``, or None for all

    @classmethod
    def union(cls, parts: Iterable["Vocabulary"]) -> "Vocabulary":
        """What several markets know together."""
        found = list(parts)
        return cls(
            sorted({key for part in found for key in part.items}),
            sorted({key for part in found for key in part.learned}),
        )


def known_items(store: MarketStore, market: MarketRows, labels: Labels, settings: EvaluationSettings) -> Vocabulary:
    """What one market ranks under the settings, its rows being labelled so.

    Everything that its rows mention, held-out ones too, where the settings ask for that, under ``acmr``, which ranks
    among candidates, and for click-through, which ranks nothing. The catalogue of ``global-time`` ends at the cut even
    where all is asked for.
    """
    if settings.protocol in {"acmr", "ctr"}:
        every = declared_items(store, settings) if settings.catalogue == "declared" else market.items
        return Vocabulary(every, every)
    rows, items = market.rows, np.array(market.items, dtype=object)
    if settings.catalogue == "all":
        there = labels >= TRAIN if settings.protocol == "global-time" else np.ones(len(labels), dtype=bool)
        every = items[np.unique(rows.items[there])].tolist()
        return Vocabulary(every, every)
    learned, known = (
        items[np.unique(rows.items[np.isin(labels, kinds)])].tolist()
        for kinds in ((TRAIN, LEARN), (TRAIN, LEARN, VALIDATION))
    )
    if settings.catalogue == "declared":
        return Vocabulary(declared_items(store, settings), learned, known)
    return Vocabulary(known, learned)


def own_vocabulary(
    store: MarketStore, settings: EvaluationSettings, seed: int = 0, draws: UserDraws | None = None
) -> Vocabulary:
    """What a market ranks by itself; see :func:`known_items`."""
    market = read_rows(store, settings, draws or UserDraws.of_seed(seed, store.name))
    return known_items(store, market, label_rows(store.name, market.rows, settings, seed), settings)


def union_vocabulary(stores: Iterable[MarketStore], settings: EvaluationSettings, seed: int = 0) -> Vocabulary:
    """All markets' catalogues together: what a coordinator makes of the markets' own."""
    return Vocabulary.union(own_vocabulary(store, settings, seed) for store in stores)
