"""What markets tell of a common codebook, and how the next one is made of it.

A market says, for every code, how many of its items the code stands for and what their encoded vectors sum to: never a
vector, never which item. The sums over markets give exactly the step of k-means (Lloyd) that one place holding all
items would make. Codes of fewer than ``least`` items of a market are not told, because the sum of one is a vector.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.payload import Array
from fedrec.exchange.weights import capped
from fedrec.recipe import CodesSettings
from fedrec.seeds import numpy_generator

COUNT, SUM, LEVEL = "count.", "sum.", "codebook."  # followed by the number of a common level
_APART = 0.01
Floats = NDArray[np.float64]


def beside(
    vectors: NDArray[np.float32], codebook: NDArray[np.floating], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Copies of ``vectors`` moved by a hundredth of the codebook's spread, so that a copy can win items of its own."""
    spread = float(np.sqrt(np.asarray(codebook, np.float64).var(axis=0).mean())) or 1.0
    noise = generator.standard_normal(vectors.shape) * _APART * spread
    return (vectors + noise).astype(np.float32)


@dataclass(frozen=True)
class CodeStatistics:
    """Items per code and the sum of their vectors, for the K codes of one level."""

    count: NDArray[np.int64] | NDArray[np.floating]  # [K], whole but where shares were capped
    sum: Floats  # [K, d]

    @classmethod
    def of(cls, codes: NDArray[np.int64], vectors: NDArray[np.floating], size: int) -> "CodeStatistics":
        """Of N items with ``codes`` [N] in [0, size) and ``vectors`` [N, d]."""
        total = np.zeros((size, vectors.shape[1]))
        np.add.at(total, codes, np.asarray(vectors, np.float64))
        return cls(np.bincount(codes, minlength=size), total)

    def suppressed(self, least: int) -> "CodeStatistics":
        """Without the codes of fewer than ``least`` items."""
        told = self.count >= least
        return CodeStatistics(np.where(told, self.count, 0), self.sum * told[:, None])


def statistics_arrays(levels: Sequence[CodeStatistics]) -> dict[str, Array]:
    """The arrays in which they travel; sums in single precision."""
    arrays: dict[str, Array] = {}
    for level, statistics in enumerate(levels):
        arrays[f"{COUNT}{level}"] = statistics.count.astype(np.int64)
        arrays[f"{SUM}{level}"] = statistics.sum.astype(np.float32)
    return arrays


def read_statistics(
    arrays: Mapping[str, Array], codebooks: Sequence[NDArray[np.floating]], bound: float, items: float = math.inf
) -> list[CodeStatistics]:
    """Statistics as a market sent them; raises ``ValueError`` in words for what cannot be.

    ``bound``: the longest mean vector of a code that is taken (L2 norm); ``items``: the most that the codes of a level
    can stand for.
    """
    expected = {f"{part}{level}" for level in range(len(codebooks)) for part in (COUNT, SUM)}
    found = {name for name in arrays if name.startswith((COUNT, SUM))}
    if found != expected:
        raise ValueError(f"statistics of the codebook: {sorted(found ^ expected)[:2]} missing or unknown")
    result = []
    for level, codebook in enumerate(codebooks):
        count, total = arrays[f"{COUNT}{level}"], arrays[f"{SUM}{level}"]
        if count.dtype != np.int64 or count.shape != codebook.shape[:1]:
            raise ValueError(f"{COUNT}{level}: {count.dtype} of shape {count.shape}, not int64 {codebook.shape[:1]}")
        if total.dtype != np.float32 or total.shape != codebook.shape:
            raise ValueError(f"{SUM}{level}: {total.dtype} of shape {total.shape}, not float32 {codebook.shape}")
        if count.min(initial=0) < 0 or count.max(initial=0) > np.iinfo(np.int32).max:
            raise ValueError(f"{COUNT}{level}: counts from {count.min()} to {count.max()} cannot be")
        if count.sum() > items:
            raise ValueError(f"{COUNT}{level}: codes of {count.sum()} items, more than the {items:g} of its hello")
        sums = np.asarray(total, np.float64)
        norms = np.linalg.norm(sums, axis=1)
        if not (norms <= bound * np.asarray(count, np.float64)).all():  # nan and infinity are not
            raise ValueError(f"{SUM}{level}: not finite, of a code without items, or longer than {bound:g} an item")
        result.append(CodeStatistics(np.asarray(count, np.int64), sums))
    return result


def with_capped_shares(parts: Sequence[CodeStatistics], most: float) -> list[CodeStatistics]:
    """Markets' statistics of one level, scaled so that none stands for more than ``most`` of all items."""
    totals = [float(part.count.sum()) for part in parts]
    total = math.fsum(totals)
    if most >= 1 or not total:
        return list(parts)
    shares = capped([own / total for own in totals], most)
    factors = [share * total / own if own else 0.0 for share, own in zip(shares, totals, strict=True)]
    return [CodeStatistics(part.count * by, part.sum * by) for part, by in zip(parts, factors, strict=True)]


@dataclass(frozen=True)
class CodebookState:
    """One level's codebook with the counts and sums it is the quotient of (moving averages where ``decay`` > 0)."""

    codebook: NDArray[np.float32]  # [K, d]
    count: Floats  # [K]
    sum: Floats  # [K, d]

    @classmethod
    def start(cls, codebook: NDArray[np.floating]) -> "CodebookState":
        """A codebook that nobody has used yet."""
        codebook = np.asarray(codebook, np.float32)
        return cls(codebook, np.zeros(len(codebook)), np.zeros(codebook.shape))

    def updated(self, parts: Sequence[CodeStatistics], decay: float) -> "CodebookState":
        """After one round: C_k = sum_m s_mk / sum_m n_mk, of moving averages with ``decay`` > 0 (no bias: both decay).

        A code that nobody used keeps its vector. Parts must come in a fixed order: it decides the last bit.
        """
        count, total = decay * self.count, decay * self.sum
        for part in parts:
            count = count + (1 - decay) * part.count
            total = total + (1 - decay) * part.sum
        used = count > 0
        mean = total / np.where(used, count, 1)[:, None]
        codebook = np.where(used[:, None], mean, np.asarray(self.codebook, np.float64))
        return CodebookState(codebook.astype(np.float32), count, total)

    def reseeded(self, used: NDArray[np.int64], generator: np.random.Generator) -> "CodebookState":
        """Codes that nobody used this round (``used`` [K] is zero) move beside the busiest ones, and share their items.

        Each busy code, the busiest first, gives to one dead code; so at most half of the codes move in a round.
        """
        dead = np.flatnonzero(used == 0)
        busy = np.argsort(-used, kind="stable")[: np.count_nonzero(used >= 2)]
        pairs = min(len(dead), len(busy))
        if not pairs:
            return self
        dead, busy = dead[:pairs], busy[:pairs]
        codebook, count, total = self.codebook.copy(), self.count.copy(), self.sum.copy()
        codebook[dead] = beside(codebook[busy], self.codebook, generator)
        for array in (count, total):
            array[busy] /= 2
            array[dead] = array[busy]
        return CodebookState(codebook, count, total)


def next_codebook(
    state: CodebookState, parts: Sequence[CodeStatistics], settings: CodesSettings, generator: np.random.Generator
) -> CodebookState:
    """One level's codebook after a round, dead codes dealt with as the recipe says."""
    state = state.updated(parts, settings.decay)
    if settings.dead == "keep":
        return state
    return state.reseeded(np.sum([part.count for part in parts], axis=0), generator)


def next_levels(
    levels: Mapping[str, Array],
    moving: Mapping[str, Array],
    parts: Sequence[Sequence[CodeStatistics]],
    settings: CodesSettings,
    max_share: float,
    seed: int,
    server_round: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """All common codebooks after a round, by the names they travel under, and their moving counts and sums.

    ``parts`` [levels][markets], each level's in the markets' order; ``max_share`` of a code's weight is one market's.
    """
    codebooks: dict[str, Array] = {}
    after: dict[str, Array] = {}
    for level, told in enumerate(parts):
        start = CodebookState.start(np.asarray(levels[f"{LEVEL}{level}"], np.float32))
        count = np.asarray(moving.get(f"{COUNT}{level}", start.count), np.float64)
        total = np.asarray(moving.get(f"{SUM}{level}", start.sum), np.float64)
        generator = numpy_generator(seed, "codebook", level, server_round)
        capped_parts = with_capped_shares(told, max_share)
        state = next_codebook(CodebookState(start.codebook, count, total), capped_parts, settings, generator)
        codebooks[f"{LEVEL}{level}"] = state.codebook
        after |= {f"{COUNT}{level}": state.count, f"{SUM}{level}": state.sum}
    return codebooks, after
