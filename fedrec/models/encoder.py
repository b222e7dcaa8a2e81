"""The shared sequence encoder: a causal transformer in today's SASRec practice.

Kang & McAuley (ICDM 2018) with pre-norm blocks, fused causal attention and right padding: a valid position attends
only to earlier positions, all of them valid, so no padding mask is needed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CausalBlock(nn.Module):
    """Pre-norm self-attention and feed-forward, both residual."""

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(dimension)
        self.projection = nn.Linear(dimension, 3 * dimension)
        self.output = nn.Linear(dimension, dimension)
        self.feed_forward_norm = nn.LayerNorm(dimension)
        self.expand = nn.Linear(dimension, 4 * dimension)
        self.contract = nn.Linear(4 * dimension, dimension)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, d] to [B, L, d]; position l sees positions up to l."""
        x = x + self._drop(self._attend(self.attention_norm(x)))
        hidden = F.gelu(self.expand(self.feed_forward_norm(x)))  # [B, L, 4d]
        return x + self._drop(self.contract(self._drop(hidden)))

    def _attend(self, x: Tensor) -> Tensor:
        batch, length, dimension = x.shape
        projected = self.projection(x).view(batch, length, 3, self.heads, dimension // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, heads, L, d / heads]
        attended = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.dropout if self.training else 0.0
        )
        result: Tensor = self.output(attended.transpose(1, 2).reshape(batch, length, dimension))
        return result

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class SequenceEncoder(nn.Module):
    """Item vectors of a history to one state per position."""

    def __init__(self, dimension: int, layers: int, heads: int, dropout: float, maximum_length: int) -> None:
        super().__init__()
        self.dropout = dropout
        self.position = nn.Embedding(maximum_length, dimension)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(CausalBlock(dimension, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dimension)

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Map [B, L, d] to [B, L, d]; ``adapters``, one a block, are a market's private residual modules."""
        x = x + self.position(torch.arange(x.shape[1], device=x.device))  # [B, L, d] + [L, d]
        x = F.dropout(x, self.dropout, self.training)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if adapters:
                x = adapters[index](x)
        result: Tensor = self.norm(x)
        return result
