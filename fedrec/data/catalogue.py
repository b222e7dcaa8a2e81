"""What is ranked: the items that were known before what is held out.

An item that only a held-out row mentions would give that row away to whoever asks "in the catalogue, never sold?". So a
market's catalogue holds the items of its train rows at validation, and of its train and validation rows at the test,
whoever made them; it is the same for every method of a run. What other markets sell never decides which of a market's
own items are in it, for that leaks again: the union of all markets' catalogues is a setting of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedrec.data.market_rows import MarketRows, label_rows, read_rows
from fedrec.data.protocols import LEARN, TRAIN, VALIDATION, Labels
from fedrec.data.store import MarketStore
from fedrec.recipe import EvaluationSettings


@dataclass(frozen=True)
class Vocabulary:
    """Sorted keys of the items that are ranked."""

    items: list[str]  # at the test
    learned: list[str]  # at validation; some of ``items``

    @classmethod
    def union(cls, parts: Iterable["Vocabulary"]) -> "Vocabulary":
        """What several markets know together."""
        found = list(parts)
        return cls(
            sorted({key for part in found for key in part.items}),
            sorted({key for part in found for key in part.learned}),
        )


def known_items(market: MarketRows, labels: Labels, settings: EvaluationSettings) -> Vocabulary:
    """What one market ranks under the settings, its rows being labelled so.

    Everything that its rows mention, held-out ones too, where the settings ask for that, under ``acmr``, which ranks
    among candidates, and for click-through, which ranks nothing. The catalogue of ``global-time`` ends at the cut even
    where all is asked for.
    """
    if settings.protocol in {"acmr", "ctr"}:
        return Vocabulary(market.items, market.items)
    rows, items = market.rows, np.array(market.items, dtype=object)
    if settings.catalogue == "all":
        there = labels >= TRAIN if settings.protocol == "global-time" else np.ones(len(labels), dtype=bool)
        every = items[np.unique(rows.items[there])].tolist()
        return Vocabulary(every, every)
    learned, known = (
        items[np.unique(rows.items[np.isin(labels, kinds)])].tolist()
        for kinds in ((TRAIN, LEARN), (TRAIN, LEARN, VALIDATION))
    )
    return Vocabulary(known, learned)


def own_vocabulary(store: MarketStore, settings: EvaluationSettings, seed: int = 0) -> Vocabulary:
    """What a market ranks by itself; see :func:`known_items`."""
    market = read_rows(store, settings, seed)
    return known_items(market, label_rows(store.name, market.rows, settings, seed), settings)


def union_vocabulary(stores: Iterable[MarketStore], settings: EvaluationSettings, seed: int = 0) -> Vocabulary:
    """All markets' catalogues together: what a coordinator makes of the markets' own."""
    return Vocabulary.union(own_vocabulary(store, settings, seed) for store in stores)
