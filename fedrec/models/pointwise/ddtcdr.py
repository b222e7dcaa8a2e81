"""DDTCDR (Li & Tuzhilin, Deep Dual Transfer Cross Domain Recommendation, WSDM 2020).

Each domain's prediction is mixed with the other domain's, made for the same user seen through an orthogonal map; the
map keeps similar users similar, and its transpose leads back. Deviations: vectors are learned with the model instead of
by autoencoders over attributes, and markets are paired with "all markets" (see towers.py).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal

from fedrec.models.pointwise.interface import Request, Sizes
from fedrec.models.pointwise.towers import Pair, PairedTowers, Tower

_TRANSFER = 0.03  # alpha of the paper: the other domain's share of a prediction


class Ddtcdr(PairedTowers):
    """Two towers, each also asked about the other's users."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.maps = nn.ModuleList(
            orthogonal(nn.Linear(sizes.dimension, sizes.dimension, bias=False)) for _ in range(sizes.markets)
        )

    def both(self, request: Request) -> Pair:
        """Logits [B, C] of either tower, with the other's share."""
        users, own_items = self.pair.users(request.users), self.pair.items(request.items)  # [B, d], [B, C, d]
        common_items = self.common_items(request.items)
        there = self.maps[request.market].weight  # [d, d], orthogonal
        tower = self.tower(request.market)
        own = (1 - _TRANSFER) * _ask(tower, users, own_items)
        own = own + _TRANSFER * _ask(self.common, users @ there.T, common_items)
        common = (1 - _TRANSFER) * _ask(self.common, users, common_items)
        return own, common + _TRANSFER * _ask(tower, users @ there, own_items)


def _ask(tower: Tower, users: Tensor, items: Tensor) -> Tensor:
    """Logits [B, C] of a tower for users [B, d] and items [B, C, d]."""
    x = torch.cat([users[:, None].expand_as(items), items], dim=-1)
    for layer in tower.layers:
        x = F.relu(layer(x))
    result: Tensor = tower.output(x).squeeze(-1)
    return result
