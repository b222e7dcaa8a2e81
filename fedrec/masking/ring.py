"""Numbers as integers of a ring, so that masks can hide them perfectly and sums of them are exact.

A number v becomes round(v / step) modulo 2^32 or 2^64. As long as every market's integers stay below the ring's half
over the number of markets, a sum of as many cannot wrap around, and it is off by at most half a step a market.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.codebook import COUNT, SUM
from fedrec.exchange.lookup_table import TABLE
from fedrec.exchange.noised_pairs import PAIRS
from fedrec.exchange.payload import STATISTICS, Array

Ring = NDArray[np.unsignedinteger]
_SUM_STEP = 2.0**-20  # of sums of code vectors
_PAIRS_RANGE = 2.0**15  # of a noised pair, and of the noise on it


@dataclass(frozen=True)
class Format:
    """How one array becomes integers in sums over at most ``members`` markets."""

    bits: int  # 32 or 64
    step: float
    members: int

    @property
    def limit(self) -> int:
        """The largest integer that a market may add, of either sign."""
        return int((2 ** (self.bits - 1) - 1) // self.members)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of the ring's numbers."""
        return np.dtype(f"uint{self.bits}")

    def encode(self, values: Array) -> Ring:
        """Integers of ``values``; raises ``ValueError`` for what is not finite or too large to be summed safely."""
        numbers = np.asarray(values, np.float64) / self.step
        largest = float(np.abs(numbers).max(initial=0.0))
        if not largest <= self.limit:  # NaN is not
            raise ValueError(f"a number does not fit: at most {self.limit * self.step:.4g} may be added by each market")
        return np.rint(numbers).astype(np.int64).astype(self.dtype)

    def decode(self, total: Ring) -> NDArray[np.float64]:
        """The sum that ``total`` stands for."""
        return np.asarray(total, self.dtype).view(f"int{self.bits}").astype(np.float64) * self.step


@dataclass(frozen=True)
class Residues(Format):
    """Of numbers that are meant modulo 2^32 and come so."""

    def encode(self, values: Array) -> Ring:
        """The numbers."""
        return np.asarray(values, np.uint32)

    def decode(self, total: Ring) -> NDArray[np.float64]:
        """The numbers, which are whole."""
        return np.asarray(total, np.uint32).astype(np.float64)


def format_of(name: str, members: int, largest: float, noised: bool) -> Format:
    """The format of an array by the name it travels under.

    ``largest``: the largest change of a parameter. Counts are exact; sums of code vectors have twenty binary places.
    """
    if name.startswith(STATISTICS + COUNT):
        return Format(64, 1.0, members)
    if name.startswith(STATISTICS + SUM):
        return Format(64, _SUM_STEP, members)
    if name == TABLE:
        return Residues(32, 1.0, members)
    if name == PAIRS and not noised:
        return Format(32, 1.0, members)
    return fitting(members, _PAIRS_RANGE if name == PAIRS else largest)


def fitting(members: int, largest: float) -> Format:
    """32 bits with the finest power of two as a step that still leaves room for ``largest``."""
    limit = Format(32, 1.0, members).limit
    return Format(32, 2.0 ** math.ceil(math.log2(largest / limit)), members)


def rings(arrays: Mapping[str, Array]) -> dict[str, Ring]:
    """Arrays that came as integers of a ring; raises ``ValueError`` for any other."""
    for name, array in arrays.items():
        if array.dtype not in {np.dtype(np.uint32), np.dtype(np.uint64)}:
            raise ValueError(f"{name}: {array.dtype} is no ring of integers")
    return {name: np.asarray(array, array.dtype) for name, array in arrays.items()}
