"""Families: variants of one product that a shop lists under several ids and copies reviews between.

Two items belong together when, in any one market, at least ``minimum_users`` users have both and the Jaccard
similarity of their user sets is at least ``threshold``. Families are the connected components over all markets;
the smallest item id stands for the family. (Our own construction; see ``docs/protocols.md``.)

Building a map reads all markets at once, so it is done where the data already lies together; the map itself
names only public catalogue keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore, replace_families


@dataclass(frozen=True)
class FamilyMap:
    """The map, and what was found on the way."""

    families: dict[str, str]

    @property
    def count(self) -> int:
        """How many families there are, single items included."""
        return len(set(self.families.values()))

    @property
    def sizes(self) -> list[int]:
        """Sizes of the families with several items, largest first."""
        _, counts = np.unique(list(self.families.values()), return_counts=True)
        return sorted((int(size) for size in counts if size > 1), reverse=True)


def build_families(markets: Iterable[pl.DataFrame], threshold: float = 0.8, minimum_users: int = 3) -> FamilyMap:
    """Build the map from the markets' interactions."""
    frames = [frame.select(Columns.USER, Columns.ITEM).unique() for frame in markets]
    items = pl.concat([frame[Columns.ITEM] for frame in frames]).unique().sort()
    links = sparse.csr_matrix((len(items), len(items)), dtype=np.int8)
    for frame in frames:
        links = links + _links(frame, items, threshold, minimum_users)
    _, component = connected_components(links, directed=False)
    representative: dict[int, str] = {}
    families: dict[str, str] = {}
    for item, label in zip(items, component, strict=True):  # ascending ids: the first seen is the smallest
        families[item] = representative.setdefault(int(label), item)
    return FamilyMap(families)


def own_families(stores: Sequence[MarketStore]) -> dict[str, dict[str, str]]:
    """The map of these stores' interactions, by market: the part that its catalogue has."""
    families = build_families(store.interactions for store in stores).families
    return {
        store.name: {item: families[item] for item in store.catalogue[Columns.ITEM] if item in families}
        for store in stores
    }


def write_own_families(stores: Sequence[MarketStore]) -> dict[str, dict[str, str]]:
    """Make :func:`own_families` the map of every store; returns them."""
    maps = own_families(stores)
    for store in stores:
        replace_families(store, maps[store.name])
    return maps


def _links(frame: pl.DataFrame, items: pl.Series, threshold: float, minimum_users: int) -> sparse.csr_matrix:
    rows = frame[Columns.USER].rank("dense").to_numpy().astype(np.int64) - 1
    columns = items.search_sorted(frame[Columns.ITEM]).to_numpy()
    matrix = sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.int64), (rows, columns)), shape=(int(rows.max()) + 1, len(items))
    )
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    common = sparse.triu(matrix.T @ matrix, k=1).tocoo()
    union = counts[common.row] + counts[common.col] - common.data
    keep = (common.data >= minimum_users) & (common.data >= threshold * union)
    return sparse.csr_matrix(
        (np.ones(int(keep.sum()), dtype=np.int8), (common.row[keep], common.col[keep])),
        shape=(len(items), len(items)),
    )
