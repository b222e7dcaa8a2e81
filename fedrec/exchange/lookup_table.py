"""Counts of cells that nobody listed beforehand, as an array whose sum over markets can be read back.

Masks want the same places of the same array from every market; a market's item pairs are few of very many, and which
they are must not show. An invertible Bloom lookup table (Goodrich & Mitzenmacher, Allerton 2011) adds every cell into
four places, chosen by a hash of its key. A place that one key alone was added to tells that key, which is then taken
out of its other places, and so on to the end. All of it is addition modulo 2^32, so the sum of tables is the table of
sums.

Deviation: several markets may add the same key, so a place also tells how often something was added to it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import RunError

Integers = NDArray[np.int64]
Table = NDArray[np.uint32]
TABLE = "table"  # the name it travels under
MAX_CELLS = 20_000_000  # of all markets together: a table of 600 MB
_HASHES = 4
_ROOM = 1.5  # places a cell: below 1.3 the last ones do not come apart
_MORE = 512  # for tables of few cells
_PARTS = 5  # of a place: how many were added, and sums of both halves of their keys, of their hashes, of their counts
_MARKETS = 256  # that may add the same key
_HALF = 2**32 // _MARKETS  # below this is either half of a key: its sums do not wrap
_WORD = np.uint64(0xFFFFFFFF)


def places(cells: int) -> int:
    """How long a table has to be for so many cells; raises :class:`RunError` for more than memory is likely to hold."""
    if cells > MAX_CELLS:
        raise RunError(f"{cells} counts are too many for a masked sum; at most {MAX_CELLS} fit: raise min_count")
    return _HASHES * math.ceil((cells * _ROOM + _MORE) / _HASHES)


def table_shape(cells: int) -> tuple[int, int]:
    """Of a table for so many cells."""
    return places(cells), _PARTS


def table_of(keys: Integers, counts: Integers, cells: int) -> Table:
    """The table for ``cells`` cells to which these distinct ``keys`` [K, 2] with their ``counts`` [K] are added."""
    if len(keys) and not (keys.min() >= 0 and keys.max() < _HALF):
        raise ValueError(f"a key of a count is not below {_HALF}")
    table = np.zeros(table_shape(cells), np.uint32)
    _add(table, keys, np.ones(len(keys), np.uint32), counts.astype(np.uint32))
    return table


def read_table(table: Table) -> tuple[Integers, Integers]:
    """The distinct keys [K, 2] of a sum of tables, sorted, and the sums of their counts [K].

    Raises ``ValueError`` where they do not come apart: with tables of :func:`table_of` about once in 100,000, else
    because a market sent something else.
    """
    left, found, sums = table.copy(), [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    candidates = np.arange(len(left))
    while len(candidates):
        keys, added, counted = _alone(left, candidates)
        if not len(keys):
            break
        candidates = _take_out(left, keys, added, counted)
        found.append(keys)
        sums.append(counted.astype(np.int64))
    if left.any():
        raise ValueError("the sum of the counts cannot be read: what markets sent is no table, or too full")
    keys, counts = np.concatenate(found), np.concatenate(sums)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    return keys[order], counts[order]


def _alone(table: Table, rows: Integers) -> tuple[Integers, Table, Table]:
    """Keys that are alone in one of these places, each once; how often each was added, and its summed count."""
    there = table[rows]
    few = (there[:, 0] > 0) & (there[:, 0] <= _MARKETS)  # more are none, and could come back for ever
    rows, there = rows[few], there[few]
    added = there[:, 0].astype(np.int64)
    keys = there[:, 1:3].astype(np.int64) // added[:, None]
    whole = (keys * added[:, None] == there[:, 1:3]).all(axis=1) & (keys < _HALF).all(axis=1)
    rows, there, keys = rows[whole], there[whole], keys[whole]
    alone = there[:, 3] == (_check(keys) * there[:, 0]).astype(np.uint32)
    alone &= (_places(keys, len(table)) == rows[:, None]).any(axis=1)
    keys, there = keys[alone], there[alone]
    _, first = np.unique(keys[:, 0] * _HALF + keys[:, 1], return_index=True)
    return keys[first], there[first, 0], there[first, 4]


def _take_out(table: Table, keys: Integers, added: Table, counts: Table) -> Integers:
    """Take keys out of all their places; those places."""
    _add(table, keys, added, counts, sign=-1)
    return np.unique(_places(keys, len(table)))


def _add(table: Table, keys: Integers, added: Table, counts: Table, sign: int = 1) -> None:
    """Add keys, each ``added`` [K] times with ``counts`` [K] in all; arithmetic of uint32 wraps, as it should."""
    parts = np.column_stack([added, keys.astype(np.uint32) * added[:, None], _check(keys) * added, counts])
    if sign < 0:
        parts = (0 - parts.astype(np.int64)).astype(np.uint32)
    for column in _places(keys, len(table)).T:
        np.add.at(table, column, parts)


def _places(keys: Integers, size: int) -> Integers:
    """Where each key belongs, [K, 4]: one place in each quarter of the table."""
    quarter = size // _HASHES
    hashes = [_hash(keys, salt) % np.uint64(quarter) + np.uint64(salt * quarter) for salt in range(_HASHES)]
    return np.stack(hashes, axis=1).astype(np.int64)


def _check(keys: Integers) -> Table:
    return (_hash(keys, _HASHES) & _WORD).astype(np.uint32)


def _hash(keys: Integers, salt: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al., OOPSLA 2014) of the keys [K, 2], its sequence begun elsewhere for each salt."""
    with np.errstate(over="ignore"):
        mixed = (keys[:, 0].astype(np.uint64) << np.uint64(32)) | keys[:, 1].astype(np.uint64)
        mixed = mixed + np.uint64(salt + 1) * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(2):
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed
