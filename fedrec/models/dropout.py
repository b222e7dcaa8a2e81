"""Dropout that is handed in: what is dropped of one history depends on its own draw, and on nobody beside it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

CHANCES = 2**16  # a number is dropped where a random word of 16 bits lies below the chance's share of these


class BlockMasks(NamedTuple):
    """What a block's numbers are multiplied with: zero, or what makes up for those that are dropped."""

    attention: Tensor  # [..., heads, L, L]
    attended: Tensor  # [..., L, d]
    hidden: Tensor  # [..., L, 4d]
    contracted: Tensor  # [..., L, d]


class EncoderMasks(NamedTuple):
    """Those of an encoder."""

    inputs: Tensor  # [..., L, d]
    blocks: tuple[BlockMasks, ...]


class MaskShape(NamedTuple):
    """How many random words one history takes: those of the longest, however long it is itself."""

    length: int
    dimension: int
    heads: int
    layers: int
    chance: float  # of being dropped

    @property
    def words(self) -> int:
        """Per history."""
        return sum(math.prod(shape) for shape in self._shapes())

    def masks(self, words: Tensor, length: int) -> EncoderMasks:
        """Of random words [B, words], integers in [0, 2^16); of each history ``length`` positions are computed."""
        below = round(self.chance * CHANCES)
        kept = (words >= below).float() * (CHANCES / (CHANCES - below))  # [B, words]
        parts: list[Tensor] = []
        start = 0
        for shape in self._shapes():
            size = math.prod(shape)
            part = kept[:, start : start + size].view(-1, *shape)[..., :length, :]
            parts.append(part[..., :length] if len(shape) == 3 else part)
            start += size
        return EncoderMasks(parts[0], tuple(BlockMasks(*parts[at : at + 4]) for at in range(1, len(parts), 4)))

    def _shapes(self) -> Iterator[tuple[int, ...]]:
        plain = (self.length, self.dimension)
        yield plain
        for _ in range(self.layers):
            yield from ((self.heads, self.length, self.length), plain, (self.length, 4 * self.dimension), plain)
