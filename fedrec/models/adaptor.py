"""The shared adaptor g: what is known of an item everywhere, to the model's own space."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class SemanticAdaptor(nn.Module):
    """Two-layer perceptron beside a linear map; ``semantic_dimension`` e to ``dimension`` d."""

    def __init__(self, semantic_dimension: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(semantic_dimension, dimension)
        self.hidden = nn.Linear(semantic_dimension, 2 * dimension)
        self.output = nn.Linear(2 * dimension, dimension)
        self.norm = nn.LayerNorm(dimension)

    def forward(self, semantics: Tensor) -> Tensor:
        """Map [I, e] to [I, d]."""
        # Unit rows have entries of about 1/sqrt(e); restore unit variance for the usual initialisation.
        scaled = semantics * semantics.shape[-1] ** 0.5
        hidden = torch.nn.functional.gelu(self.hidden(scaled))  # [I, e] -> [I, 2d]
        result: Tensor = self.norm(self.linear(scaled) + self.output(hidden))  # [I, d]
        return result


class ItemCodes(NamedTuple):
    """Codes of I items: on levels that mean the same in every market, and on levels of the market's own."""

    common: Tensor  # [I, L_c] int64; sizes[l] where nothing is known
    sizes: tuple[int, ...]  # [L_c]
    own: Tensor  # [I, L_o]
    own_sizes: tuple[int, ...]  # [L_o]


class CodeAdaptor(nn.Module):
    """The sum of one embedding a level; ``sizes`` codes a level, and one for what is not known."""

    def __init__(self, sizes: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Embedding(size + 1, dimension) for size in sizes)
        self.norm = nn.LayerNorm(dimension)

    def forward(self, codes: Tensor) -> Tensor:
        """Map [I, L] to [I, d]."""
        total = torch.stack([level(codes[:, index]) for index, level in enumerate(self.levels)]).sum(dim=0)
        result: Tensor = self.norm(total)  # [I, d]
        return result
