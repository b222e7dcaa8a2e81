"""Bidirectional self-attention as in the original transformer: post-norm blocks, with room for onlookers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BidirectionalBlock(nn.Module):
    """Self-attention and feed-forward (width 4d, rectified), a norm after each sum (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.projection = nn.Linear(dimension, 3 * dimension)
        self.output = nn.Linear(dimension, dimension)
        self.attention_norm = nn.LayerNorm(dimension)
        self.expand = nn.Linear(dimension, 4 * dimension)
        self.contract = nn.Linear(4 * dimension, dimension)
        self.feed_forward_norm = nn.LayerNorm(dimension)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map [B, L + C, d] to [B, L + C, d].

        ``valid`` [B, L] says which of the first L places hold something; everybody reads those. The C places after them
        are onlookers: each reads itself as well, and nobody else reads it.
        """
        x = self.attention_norm(x + self._drop(self.output(self._attend(x, valid))))
        hidden = F.relu(self.expand(x))  # [B, L + C, 4d]
        result: Tensor = self.feed_forward_norm(x + self._drop(self.contract(self._drop(hidden))))
        return result

    def _attend(self, x: Tensor, valid: Tensor) -> Tensor:
        batch, places, dimension = x.shape
        read = valid.shape[1]
        projected = self.projection(x).view(batch, places, 3, self.heads, dimension // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, heads, L + C, d / heads]
        query = query * (dimension // self.heads) ** -0.5
        # Keys before queries: torch's softmax over a last dimension of less than 16 is several times slower on a CPU.
        scores = key[:, :, :read] @ query.transpose(2, 3)  # [B, heads, L, L + C]
        scores = scores.masked_fill(~valid[:, None, :, None], -torch.inf)
        if places > read:
            itself = (query * key).sum(dim=-1)[:, :, None]  # [B, heads, 1, L + C]
            onlooker = torch.arange(places, device=x.device) >= read
            scores = torch.cat([scores, itself.masked_fill(~onlooker, -torch.inf)], dim=2)
        shares = self._drop(scores.softmax(dim=2))
        mixed = shares[:, :, :read].transpose(2, 3) @ value[:, :, :read]  # [B, heads, L + C, d / heads]
        if places > read:
            mixed = mixed + shares[:, :, read, :, None] * value
        result: Tensor = mixed.transpose(1, 2).reshape(batch, places, dimension)
        return result

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Zero a ``share`` of the numbers, rounded to a 256th, and scale the others up.

    One random byte decides a number. On a CPU that is several times as fast as torch's own, which draws a float for
    each: in models this small a third of all work.
    """
    dropped = min(round(256 * share), 255)
    if not training or dropped == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    words = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
    kept = (words.view(torch.uint8)[: x.numel()] >= dropped).view(x.shape).to(x.dtype)
    return x * kept.mul_(256 / (256 - dropped))


def mean_of_valid(states: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid places [..., L] of states [..., L, d]; at least one must be valid. [..., d]."""
    weights = valid.to(states.dtype)
    return torch.einsum("...ld,...l->...d", states, weights / weights.sum(dim=-1, keepdim=True))
