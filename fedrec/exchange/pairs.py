"""Counts of item pairs over public keys: what a market may say of its histories without any of their rows.

They are sums over users, so the counts of several markets add up: to shared semantics (``semantics.cooccurrence``),
and to the exact Gram matrix of federated EASE.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.keys import MAX_ITEMS
from fedrec.exchange.payload import Array

_NAMES = ("first", "second", "count")


@dataclass(frozen=True)
class PairCounts:
    """Users per item pair of ``size`` items, each pair once; an item with itself: its users.

    Upper triangle, or where ``directed`` from ``first`` to ``second``.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    count: NDArray[np.int32]
    size: int
    directed: bool = False

    def placed(self, index: NDArray[np.int64], size: int) -> "PairCounts":
        """The same counts with item i renamed to ``index[i]`` of ``size`` items."""
        ends = np.stack([index[self.first], index[self.second]]).astype(np.int32)
        if not self.directed:
            ends.sort(axis=0)
        return replace(self, first=ends[0], second=ends[1], size=size)

    def restricted(self, items: NDArray[np.int64]) -> "PairCounts":
        """The counts among ``items`` alone, numbered in their order."""
        position = np.full(self.size, -1, dtype=np.int64)
        position[items] = np.arange(len(items))
        inside = (position[self.first] >= 0) & (position[self.second] >= 0)
        kept = replace(self, first=self.first[inside], second=self.second[inside], count=self.count[inside])
        return kept.placed(position, len(items))

    def of_two(self) -> "PairCounts":
        """Without those of an item with itself."""
        keep = self.first != self.second
        return replace(self, first=self.first[keep], second=self.second[keep], count=self.count[keep])

    def held_back(self, min_count: int) -> "PairCounts":
        """Without the pairs of fewer users."""
        keep = self.count >= min_count
        return replace(self, first=self.first[keep], second=self.second[keep], count=self.count[keep])

    def matrix(self) -> sparse.csr_matrix:
        """The matrix [size, size], symmetric unless directed."""
        shape = (self.size, self.size)
        counts = sparse.csr_matrix((self.count.astype(np.float64), (self.first, self.second)), shape=shape)
        return counts if self.directed else sparse.csr_matrix(counts + sparse.triu(counts, k=1).T)

    def arrays(self) -> dict[str, Array]:
        """The three arrays in which counts travel."""
        return {"first": self.first, "second": self.second, "count": self.count}


def count_pairs(histories: sparse.csr_matrix, min_count: int, diagonal: bool = False) -> PairCounts:
    """Count the users of every item pair of ``histories`` [U, I] and keep pairs of at least ``min_count``.

    ``diagonal`` adds every item's own users (as often as ``min_count`` allows).
    """
    bought = (histories != 0).astype(np.int64)  # a user who repeats an item is still one user
    return pair_counts(sparse.triu(bought.T @ bought, k=0 if diagonal else 1)).held_back(min_count)


def pair_counts(counts: sparse.spmatrix, directed: bool = False) -> PairCounts:
    """The counts of a sparse matrix [I, I], sorted; its upper triangle unless ``directed``."""
    cells = counts.tocoo()
    order = np.lexsort((cells.col, cells.row))
    first, second, count = (part[order].astype(np.int32) for part in (cells.row, cells.col, cells.data))
    return PairCounts(first, second, count, counts.shape[0], directed)


def sum_pairs(parts: Iterable[PairCounts], size: int) -> PairCounts:
    """Add counts that already share one index of ``size`` items; raises ``ValueError`` when a sum is absurd."""
    total, directed = sparse.csr_matrix((size, size), dtype=np.int64), False
    for part in parts:
        directed = part.directed
        total = total + sparse.csr_matrix((part.count, (part.first, part.second)), shape=(size, size), dtype=np.int64)
    if total.nnz and total.data.max() > np.iinfo(np.int32).max:
        raise ValueError("summed pair counts are larger than any market could have users")
    return pair_counts(total, directed)


def subtract(total: PairCounts, part: PairCounts) -> PairCounts:
    """A sum without one part of it; raises ``ValueError`` where that was never in it."""
    shape = (total.size, total.size)
    whole, own = (
        sparse.csr_matrix((one.count.astype(np.int64), (one.first, one.second)), shape=shape) for one in (total, part)
    )
    left = sparse.csr_matrix(whole - own)
    left.eliminate_zeros()
    if left.nnz and left.data.min() < 0:
        raise ValueError("a sum of pair counts is less than this market's own part of it")
    return pair_counts(left, total.directed)


def pairs_of(triangle: NDArray[np.floating], size: int) -> PairCounts:
    """The counts of a dense upper triangle over ``size`` items, row by row; pairs that nobody has are left out."""
    first, second = np.triu_indices(size)
    there = triangle > 0
    return PairCounts(
        first[there].astype(np.int32), second[there].astype(np.int32), triangle[there].astype(np.int32), size
    )


@dataclass(frozen=True)
class SummedCounts:
    """What a market gets of the counts of all: ``counts``, and which of their items are its own."""

    counts: PairCounts
    own: NDArray[np.int64]  # position of each of the market's items

    def arrays(self) -> dict[str, Array]:
        """The arrays in which they travel."""
        return {**self.counts.arrays(), "own": self.own, "size": np.array([self.counts.size])}


def read_summed(arrays: Mapping[str, Array], items: int) -> SummedCounts:
    """Summed counts as a market of ``items`` items receives them; raises ``ValueError`` for what cannot be such."""
    own, size = arrays.get("own"), arrays.get("size")
    if own is None or size is None or size.shape != (1,) or {own.dtype, size.dtype} != {np.dtype(np.int64)}:
        raise ValueError("summed counts must say over how many items they are and where this market's stand")
    total = int(size[0])
    if own.shape != (items,) or len(np.unique(own)) != items or not (own.min() >= 0 and own.max() < total):
        raise ValueError(f"summed counts over {total} items do not fit the {items} items of this market")
    if total > MAX_ITEMS:
        raise ValueError(f"summed counts over {total} items; at most {MAX_ITEMS} are taken")
    return SummedCounts(read_pairs(arrays, total, 1, diagonal=True), np.asarray(own, np.int64))


def read_pairs(
    arrays: Mapping[str, Array],
    size: int,
    min_count: int,
    diagonal: bool,
    users: int | None = None,
    directed: bool = False,
) -> PairCounts:
    """Counts as they came from the other side; raises ``ValueError`` in words for anything that cannot be counts.

    ``users``: how many there are where they came from, if that is known. ``directed`` excludes ``diagonal``.
    """
    parts = [arrays.get(name) for name in _NAMES]
    if any(part is None or part.dtype != np.int32 or part.ndim != 1 for part in parts):
        raise ValueError("pair counts must be three one-dimensional int32 arrays")
    first, second, count = (np.asarray(part, np.int32) for part in parts)
    if not len(first) == len(second) == len(count):
        raise ValueError("pair counts of unequal length")
    ordered = first != second if directed else first <= second if diagonal else first < second
    ends = np.concatenate([first, second])
    if len(ends) and not (ends.min() >= 0 and ordered.all() and ends.max() < size):
        raise ValueError("pair counts name items outside the catalogue")
    if len(count) and count.min() < min_count:
        raise ValueError(f"a pair count below the agreed least, {min_count}")
    if len(count) and users is not None and count.max() > users:
        raise ValueError(f"a pair is counted {count.max()} times, of {users} users")
    cells = first.astype(np.int64) * size + second
    if len(np.unique(cells)) < len(cells):
        raise ValueError("pair counts name a pair twice")
    if diagonal:
        bought = np.zeros(size, np.int32)
        bought[first[first == second]] = count[first == second]
        if (count > np.minimum(bought[first], bought[second])).any():
            raise ValueError("a pair is counted more often than one of its items")
    return PairCounts(first, second, count, size, directed)
