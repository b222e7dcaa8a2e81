"""BERT4Rec (Sun et al., CIKM 2019), on one market or, as BERT4Rec++, on all.

Bidirectional layers over the history with some of its items masked; the masked ones are predicted (Cloze) by a softmax
over all items. To score, a mask is appended. Deviations: two layers and two heads of width 32, as the table's other
models; the share of masked items is .2, and the last is masked as often as any other.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.pointwise.attention import BidirectionalBlock, dropout
from fedrec.models.pointwise.interface import PointwiseModel, Request, Sizes, table

_MASKED = 0.2


class Bert4Rec(PointwiseModel):
    """A masked language model of histories."""

    def __init__(self, sizes: Sizes, layers: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.mask = sizes.items  # the number of the item that stands for "which?"
        self.dropout = sizes.dropout
        self.items = table(sizes.items + 1, sizes.dimension)
        self.positions = table(sizes.maximum_length + 1, sizes.dimension)
        self.norm = nn.LayerNorm(sizes.dimension)
        self.blocks = nn.ModuleList(BidirectionalBlock(sizes.dimension, heads, sizes.dropout) for _ in range(layers))
        self.output = nn.Linear(sizes.dimension, sizes.dimension)
        self.output_norm = nn.LayerNorm(sizes.dimension)
        self.bias = nn.Parameter(torch.zeros(sizes.items))

    def forward(self, request: Request) -> Tensor:
        """Scores [B, C] of what would stand after the history."""
        rows = torch.arange(len(request.lengths), device=request.items.device)
        asked = F.pad(request.histories, (0, 1))  # [B, L + 1]
        asked[rows, request.lengths] = self.mask
        valid = F.pad(request.valid, (1, 0), value=True)  # one place more than the history
        states = self._encode(asked, valid)[rows, request.lengths]  # [B, d]
        vectors = self.items(request.items)  # [B, C, d]
        return torch.einsum("bd,bcd->bc", states, vectors) + self.bias[request.items]

    def loss(self, request: Request, labels: Tensor, counted: Tensor) -> Tensor:
        """Cross-entropy of the masked items, one or more of each history; the candidates are not looked at."""
        drawn = torch.rand(request.histories.shape, device=request.items.device)
        drawn = drawn.masked_fill(~request.valid, 2.0)
        masked = (drawn < _MASKED) | (drawn == drawn.min(dim=1, keepdim=True).values)  # [B, L]
        states = self._encode(request.histories.masked_fill(masked, self.mask), request.valid)
        scores = states[masked] @ self.items.weight[: self.mask].T + self.bias  # [N, I]
        return F.cross_entropy(scores, request.histories[masked])

    def _encode(self, items: Tensor, valid: Tensor) -> Tensor:
        """States [B, L, d], ready to be compared with item vectors."""
        x = self.items(items) + self.positions.weight[: items.shape[1]]
        x = dropout(self.norm(x), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, valid)
        result: Tensor = self.output_norm(F.gelu(self.output(x)))
        return result
