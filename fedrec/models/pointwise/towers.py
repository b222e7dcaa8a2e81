"""Two towers side by side, one of the market and one of all markets: the ground of Cross-Stitch, CoNet and DDTCDR.

All three were made for two domains with the same users. Markets share items, not users, and there are seven of them; so
each market is paired with "all markets", whose tower is one for all. An example of a market passes through both towers
and trains both: the market's as the target, the common one as the source. This is our reading; the authors of the table
do not say theirs.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.pointwise.interface import PairEmbedding, PointwiseModel, Request, Sizes, table

Pair = tuple[Tensor, Tensor]  # of the market, of all markets


class Tower(nn.Module):
    """Linear maps, applied one at a time, and an output."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(given, made) for given, made in itertools.pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)


class PairedTowers(PointwiseModel):
    """A tower for every market and a common one, each with item vectors of its own; users have one vector."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pair = PairEmbedding(sizes)
        self.common_items = table(sizes.items, sizes.dimension)
        widths = (self.pair.width, *sizes.hidden)
        self.own = nn.ModuleList(Tower(widths) for _ in range(sizes.markets))
        self.common = Tower(widths)

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]: those of the market's own tower."""
        return self.both(request)[0]

    def loss(self, request: Request, labels: Tensor, counted: Tensor) -> Tensor:
        """Binary cross-entropy of both towers."""
        return sum(
            (F.binary_cross_entropy_with_logits(logits[counted], labels[counted]) for logits in self.both(request)),
            start=self.penalty(request.market),
        )

    def both(self, request: Request) -> Pair:
        """Logits [B, C] of either tower."""
        own = self.pair(request)  # [B, C, 2d]
        common = torch.cat([own[..., : own.shape[-1] // 2], self.common_items(request.items)], dim=-1)
        for depth in range(len(self.common.layers)):
            own, common = self.layer(request.market, depth, own, common)
        return self.tower(request.market).output(own).squeeze(-1), self.common.output(common).squeeze(-1)

    def tower(self, market: int) -> Tower:
        """The market's own."""
        tower: Tower = self.own[market]  # type: ignore[assignment]
        return tower

    def layer(self, market: int, depth: int, own: Tensor, common: Tensor) -> Pair:
        """What both towers hold after one layer more."""
        raise NotImplementedError

    def penalty(self, market: int) -> Tensor:
        """A term of the loss beside the predictions."""
        return torch.zeros((), device=self.common.output.weight.device)
