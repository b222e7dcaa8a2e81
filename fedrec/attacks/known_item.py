"""What statistics give away to somebody who knows one item of a user, for sure and without a guess."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.statistics import SAME_DAY, TOGETHER, WITHIN, Statistics


@dataclass(frozen=True)
class GivenAway:
    """By known item, [I]."""

    item: NDArray[np.bool_]  # whether another item is sure
    items: NDArray[np.float64]  # how many are
    time: NDArray[np.bool_]  # whether it is sure how long before or after it another was had
    month: NDArray[np.bool_]  # whether its own month is sure


def given_away(statistics: Statistics) -> GivenAway:
    """Where as many users have a pair as have one item of it, whoever has that item has the other; so with months."""
    size = statistics.size
    users = statistics.pairs[TOGETHER].matrix().diagonal()
    item, time, items = np.zeros(size, bool), np.zeros(size, bool), np.zeros(size)
    for kind, counts in statistics.pairs.items():
        matrix = counts.matrix()
        for one in (matrix, matrix.T) if counts.directed else (matrix,):
            cells = one.tocoo()
            certain = cells.row[(cells.data == users[cells.row]) & (cells.row != cells.col)]
            if kind == TOGETHER:
                item[certain] = True
                items += np.bincount(certain, minlength=size)
            else:
                time[certain] = True
    month, monthly = np.zeros(size, bool), statistics.monthly
    month[monthly.item[monthly.count == users[monthly.item]]] = True
    return GivenAway(item, items, time, month)


@dataclass(frozen=True)
class LeftOver:
    """What is left of a count when all that is told of its parts is taken from it."""

    pairs: NDArray[np.int64]  # [P] by told pair of two items: users with a gap between them that is not told
    months: NDArray[np.int64]  # [I] by item of which any month is told: users of a month that is not


def left_over(statistics: Statistics) -> LeftOver:
    """Kinds of statistics against each other: a user has a pair once, on one day or the one before the other.

    Where a single user is left over, it is certain that there is exactly one, although no count of one was told.
    """
    told = statistics.pairs[TOGETHER].matrix().tocoo()
    upper = told.row < told.col
    first, second, users = told.row[upper], told.col[upper], told.data[upper]
    parts = statistics.pairs[SAME_DAY].matrix()
    for kind in WITHIN:
        directed = statistics.pairs[kind].matrix()
        parts = parts + directed + directed.T
    months = statistics.monthly
    monthly = np.bincount(months.item, months.count, minlength=statistics.size)
    every = statistics.pairs[TOGETHER].matrix().diagonal()
    pairs = users - np.asarray(parts[first, second]).ravel()
    return LeftOver(np.rint(pairs).astype(np.int64), np.rint((every - monthly)[monthly > 0]).astype(np.int64))
