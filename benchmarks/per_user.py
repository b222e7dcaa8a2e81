"""Metric values per user, kept as rows until the intervals of all seeds are made of them.

So a long table can be finished in another session: runs are removed once their figures are rows. Values are packed
(float32, zlib, base64), in the order of the market's test users; no user can be told from them.
"""

import base64
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from results import append_rows, path_of, read_rows, write_rows

Floats = NDArray[np.float64]
PerUser = Mapping[str, Mapping[str, Floats]]  # market -> method -> value per test user


def keep(table: str, run: Mapping[str, str], values: PerUser) -> None:
    """Add the values of one run; ``run`` names it, column by column."""
    rows = [
        {**run, "market": market, "method": method, "values": _packed(found)}
        for market, methods in sorted(values.items())
        for method, found in sorted(methods.items())
    ]
    append_rows(_name(table), rows, tuple(run))


def kept(table: str, run: Mapping[str, str]) -> dict[str, dict[str, Floats]]:
    """The values of one run; empty where none are kept."""
    found: dict[str, dict[str, Floats]] = {}
    for row in read_rows(_name(table)):
        if all(row[column] == value for column, value in run.items()):
            found.setdefault(row["market"], {})[row["method"]] = _unpacked(row["values"])
    return found


def drop(table: str, part: Mapping[str, str]) -> None:
    """Forget the runs that ``part`` names, once their intervals are rows."""
    rows = read_rows(_name(table))
    left = [row for row in rows if any(row[column] != value for column, value in part.items())]
    if left:
        write_rows(_name(table), left)
    else:
        path_of(_name(table)).unlink(missing_ok=True)


def _name(table: str) -> str:
    return f"{table}_users"


def _packed(values: Floats) -> str:
    return base64.b64encode(zlib.compress(np.asarray(values, "<f4").tobytes(), 9)).decode()


def _unpacked(text: str) -> Floats:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").astype(np.float64)
