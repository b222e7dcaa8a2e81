"""Statistics of histories that sum over users, and so over markets: what a shared ranker's features are made of.

Every number is a count of users: of a pair of items by what lies between the two, of an item by month. Each is held
back in its market where fewer than ``min_count`` users are behind it. Time is told in whole buckets: sums of decays
over whole days would tell the days of the few users behind them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.lookup_table import read_table, table_shape
from fedrec.exchange.pairs import PairCounts, pair_counts, read_pairs, subtract, sum_pairs
from fedrec.exchange.payload import Array

TOGETHER, SAME_DAY, NEXT = "together", "same_day", "next"
GAPS = (0, 7, 30, 90, 365)  # days; "within_7": the second item came 1 to 7 days after the first
WITHIN = tuple(f"within_{days}" for days in GAPS[1:])
PAIR_KINDS = {TOGETHER: False, SAME_DAY: False, NEXT: True, **dict.fromkeys(WITHIN, True)}  # whether directed
STEPS = 2  # "next": the second item is at most the second after the first
MONTH_DAYS = 30

_PAIR, _MONTH = ("first", "second", "count"), ("item", "month", "count")
_LATEST_MONTH = 4000  # about the year 2298
_CELLS = 4_000_000  # pairs of interactions held at a time


@dataclass(frozen=True)
class Monthly:
    """Users per item and month of 30 days since 1970, each once."""

    item: NDArray[np.int32]
    month: NDArray[np.int32]
    count: NDArray[np.int32]

    def arrays(self) -> dict[str, Array]:
        """The three arrays in which they travel."""
        return {"item": self.item, "month": self.month, "count": self.count}

    def placed(self, index: NDArray[np.int64]) -> "Monthly":
        """The same counts with item i renamed to ``index[i]``."""
        return Monthly(index[self.item].astype(np.int32), self.month, self.count)

    def restricted(self, items: NDArray[np.int64], size: int) -> "Monthly":
        """Those of ``items`` alone, of ``size`` items, numbered in their order."""
        position = np.full(size, -1, np.int64)
        position[items] = np.arange(len(items))
        inside = position[self.item] >= 0
        return Monthly(position[self.item[inside]].astype(np.int32), self.month[inside], self.count[inside])


@dataclass(frozen=True)
class Statistics:
    """What a market says of its train histories, or several together. ``together`` has every item with itself."""

    monthly: Monthly
    pairs: Mapping[str, PairCounts]  # by kind

    def arrays(self) -> dict[str, Array]:
        """The arrays in which they travel."""
        kinds = {
            f"{kind}.{name}": array for kind, counts in self.pairs.items() for name, array in counts.arrays().items()
        }
        return kinds | {f"monthly.{name}": array for name, array in self.monthly.arrays().items()}

    @property
    def size(self) -> int:
        """Over how many items."""
        return self.pairs[TOGETHER].size

    @property
    def known_pairs(self) -> int:
        """Of how many pairs anything is said, items with themselves among them."""
        return len(self.pairs[TOGETHER].count)

    @property
    def popularity(self) -> NDArray[np.float64]:
        """How often each item was had, [I], a user once a month; where no months are told, of how many users."""
        if not len(self.monthly.item):
            return np.asarray(self.pairs[TOGETHER].matrix().diagonal(), np.float64)
        return np.bincount(self.monthly.item, self.monthly.count, minlength=self.size).astype(np.float64)

    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All counts in one list: what each is of [K, 2], and the counts [K]."""
        kinds = [(one.first, one.second, one.count) for one in (self.pairs[kind] for kind in PAIR_KINDS)]
        kinds.append((self.monthly.item, self.monthly.month, self.monthly.count))
        keys = [
            np.column_stack([number * self.size + first.astype(np.int64), second])
            for number, (first, second, _) in enumerate(kinds)
        ]
        return np.concatenate(keys), np.concatenate([count for _, _, count in kinds]).astype(np.int64)

    @classmethod
    def of_cells(cls, keys: NDArray[np.int64], counts: NDArray[np.int64], size: int) -> "Statistics":
        """The way back, over ``size`` items; raises ``ValueError`` for what cannot be statistics."""
        number, first = np.divmod(keys[:, 0], size)
        if len(keys) and (number.max() > len(PAIR_KINDS) or max(keys.max(), counts.max()) > np.iinfo(np.int32).max):
            raise ValueError("counts of no known kind, or larger than any market could have users")
        arrays: dict[str, Array] = {}
        for place, names in enumerate([*([kind, *_PAIR] for kind in PAIR_KINDS), ["monthly", *_MONTH]]):
            own = number == place
            parts = (first[own], keys[own, 1], counts[own])
            kind, *fields = names
            arrays |= {f"{kind}.{name}": part.astype(np.int32) for name, part in zip(fields, parts, strict=True)}
        return read_statistics(arrays, size, 1)

    @classmethod
    def of_table(cls, table: Array, size: int) -> "Statistics":
        """Of a sum of tables (:mod:`fedrec.exchange.lookup_table`); raises ``ValueError`` for what cannot be such."""
        if table.dtype != np.uint32 or table.ndim != 2 or table.shape[1:] != table_shape(0)[1:]:
            raise ValueError(f"{table.dtype} of shape {table.shape} is no table of counts")
        return cls.of_cells(*read_table(np.asarray(table, np.uint32)), size)

    def placed(self, index: NDArray[np.int64], size: int) -> "Statistics":
        """The same with item i renamed to ``index[i]`` of ``size`` items."""
        pairs = {kind: counts.placed(index, size) for kind, counts in self.pairs.items()}
        return Statistics(self.monthly.placed(index), pairs)

    def restricted(self, items: NDArray[np.int64]) -> "Statistics":
        """Those among ``items`` alone, numbered in their order."""
        pairs = {kind: counts.restricted(items) for kind, counts in self.pairs.items()}
        return Statistics(self.monthly.restricted(items, self.size), pairs)

    def without(self, part: "Statistics") -> "Statistics":
        """A sum without one part of it; raises ``ValueError`` where that was never in it."""
        pairs = {kind: subtract(counts, part.pairs[kind]) for kind, counts in self.pairs.items()}
        return Statistics(_subtract_months(self.monthly, part.monthly), pairs)


@dataclass(frozen=True)
class Events:
    """Interactions of U users with I items, sorted by user, each user's oldest first."""

    users: NDArray[np.int64]  # [N]
    items: NDArray[np.int64]  # [N]
    days: NDArray[np.int64]  # [N]
    item_count: int


def count_statistics(events: Events, min_count: int) -> Statistics:
    """What a market says of its histories."""
    pairs = {kind: counts.held_back(min_count) for kind, counts in count_kinds(events).items()}
    return Statistics(_count_months(events, min_count), pairs)


def count_kinds(events: Events) -> dict[str, PairCounts]:
    """Users of every pair of items by kind, all of them. A user counts once for a pair in each kind."""
    size = events.item_count
    totals = {kind: sparse.csr_matrix((size, size), dtype=np.int64) for kind in PAIR_KINDS}
    starts = np.flatnonzero(np.diff(events.users, prepend=-1))  # [U]
    lengths = np.diff(np.append(starts, len(events.users)))
    block = np.cumsum(lengths**2) // _CELLS  # [U]
    for number in np.unique(block):
        chosen = np.flatnonzero(block == number)
        first, last = starts[chosen[0]], starts[chosen[-1]] + lengths[chosen[-1]]
        part = Events(events.users[first:last], events.items[first:last], events.days[first:last], size)
        for kind, counts in _count_block(part, lengths[chosen]).items():
            totals[kind] = totals[kind] + counts
    own = np.bincount(np.unique(events.users * size + events.items) % size, minlength=size)
    totals[TOGETHER] = totals[TOGETHER] + sparse.diags(own, dtype=np.int64)
    return {
        kind: pair_counts(totals[kind] if directed else sparse.triu(totals[kind]), directed)
        for kind, directed in PAIR_KINDS.items()
    }


def _count_block(events: Events, lengths: NDArray[np.int64]) -> dict[str, sparse.csr_matrix]:
    """Directed counts [I, I] of every kind, of some users; symmetric kinds stand in both triangles."""
    size, repeats = events.item_count, np.repeat(lengths, lengths)  # [N]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    earlier = np.repeat(np.arange(len(repeats)), repeats)  # [sum of squares] position of the first item of a pair
    start = np.repeat(ends[:-1], lengths**2)
    offset = np.arange(len(earlier)) - np.repeat(np.concatenate([[0], np.cumsum(lengths**2)])[:-1], lengths**2)
    later = start + offset % np.repeat(lengths, lengths**2)
    differ = events.items[earlier] != events.items[later]
    earlier, later = earlier[differ], later[differ]
    gap, steps = events.days[later] - events.days[earlier], later - earlier
    users, first, second = events.users[earlier], events.items[earlier], events.items[later]
    kinds = {TOGETHER: np.ones(len(gap), bool), SAME_DAY: gap == 0, NEXT: (steps > 0) & (steps <= STEPS)}
    for name, low, high in zip(WITHIN, GAPS, GAPS[1:], strict=False):
        kinds[name] = (gap > low) & (gap <= high)
    once = len(np.unique(events.users * size + events.items)) == len(events.items)
    result = {}
    for kind, there in kinds.items():
        pair = first[there] * size + second[there]
        if not once:  # somebody repeats an item, and still counts once
            pair = np.unique(users[there] * size**2 + pair) % size**2
        cells = (np.ones(len(pair), np.int64), (pair // size, pair % size))
        result[kind] = sparse.csr_matrix(cells, shape=(size, size))
    return result


def _count_months(events: Events, min_count: int) -> Monthly:
    months = np.clip(events.days // MONTH_DAYS, 0, _LATEST_MONTH)
    keys = np.unique((events.users * events.item_count + events.items) * (_LATEST_MONTH + 1) + months)
    cells, count = np.unique(keys % (events.item_count * (_LATEST_MONTH + 1)), return_counts=True)
    keep = count >= min_count
    item, month = np.divmod(cells[keep], _LATEST_MONTH + 1)
    return Monthly(item.astype(np.int32), month.astype(np.int32), count[keep].astype(np.int32))


def read_statistics(arrays: Mapping[str, Array], size: int, min_count: int, users: int | None = None) -> Statistics:
    """Statistics as they came from the other side; raises ``ValueError`` in words for what cannot be such.

    ``users``: how many there are where they came from, if that is known.
    """
    pairs = {
        kind: read_pairs(_under(arrays, f"{kind}."), size, min_count, kind == TOGETHER, users, directed)
        for kind, directed in PAIR_KINDS.items()
    }
    most = pairs[TOGETHER].matrix()
    for kind, counts in pairs.items():
        if (counts.count > np.asarray(most[counts.first, counts.second]).ravel()).any():
            raise ValueError(f"more users of a pair {kind} than have the two items")
    return Statistics(_read_months(_under(arrays, "monthly."), size, min_count, users), pairs)


def sum_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Add statistics of several markets that already share one index of items."""
    size = parts[0].size
    pairs = {kind: sum_pairs((one.pairs[kind] for one in parts), size) for kind in PAIR_KINDS}
    return Statistics(_sum_months([one.monthly for one in parts]), pairs)


def _subtract_months(total: Monthly, part: Monthly) -> Monthly:
    left = _sum_months([total, Monthly(part.item, part.month, -part.count)])
    if (left.count < 0).any():
        raise ValueError("a sum of counts by month is less than this market's own part of it")
    keep = left.count > 0
    return Monthly(left.item[keep], left.month[keep], left.count[keep])


def _sum_months(parts: Sequence[Monthly]) -> Monthly:
    item, month, count = (
        np.concatenate([getattr(part, name) for part in parts]).astype(np.int64) for name in ("item", "month", "count")
    )
    cells, where = np.unique(item * (_LATEST_MONTH + 1) + month, return_inverse=True)
    total = np.bincount(where, count, minlength=len(cells))
    if total.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError("summed counts by month are larger than any market could have users")
    items, months = np.divmod(cells, _LATEST_MONTH + 1)
    return Monthly(items.astype(np.int32), months.astype(np.int32), total.astype(np.int32))


def _read_months(arrays: Mapping[str, Array], size: int, min_count: int, users: int | None) -> Monthly:
    parts = [arrays.get(name) for name in _MONTH]
    if any(part is None or part.dtype != np.int32 or part.ndim != 1 for part in parts):
        raise ValueError("counts of items by month must be three one-dimensional int32 arrays")
    item, month, count = (np.asarray(part, np.int32) for part in parts)
    if not len(item) == len(month) == len(count):
        raise ValueError("counts of items by month of unequal length")
    if len(item) and not (item.min() >= 0 and item.max() < size and month.min() >= 0 and month.max() <= _LATEST_MONTH):
        raise ValueError("counts of items by month name items outside the catalogue, or months that never were")
    if len(count) and count.min() < min_count:
        raise ValueError(f"a count of an item by month below the agreed least, {min_count}")
    if len(count) and users is not None and count.max() > users:
        raise ValueError(f"an item is counted {count.max()} times in a month, of {users} users")
    if len(np.unique(item.astype(np.int64) * (_LATEST_MONTH + 1) + month)) < len(item):
        raise ValueError("counts of items by month name an item and month twice")
    return Monthly(item, month, count)


def _under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
