"""CoNet (Hu et al., CoNet: Collaborative Cross Networks ..., CIKM 2018): towers with cross connections.

What a tower holds also enters the other one's next layer, through one matrix H for both directions, pressed towards
sparsity by an L1 penalty. Deviation: the pairing of markets (see towers.py); H is each market's own.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.pointwise.interface import Sizes
from fedrec.models.pointwise.towers import Pair, PairedTowers

_SPARSITY = 1e-4


class CoNet(PairedTowers):
    """Layers of two towers that feed each other."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        widths = (self.pair.width, *sizes.hidden)
        self.crosses = nn.ParameterList(
            torch.randn(sizes.markets, made, given) * given**-0.5 / 10 for given, made in itertools.pairwise(widths)
        )  # of each layer, [M, h', h]

    def layer(self, market: int, depth: int, own: Tensor, common: Tensor) -> Pair:
        """Each tower's layer plus what crosses over."""
        cross = self.crosses[depth][market].T  # [h, h']
        return (
            F.relu(self.tower(market).layers[depth](own) + common @ cross),
            F.relu(self.common.layers[depth](common) + own @ cross),
        )

    def penalty(self, market: int) -> Tensor:
        """L1 norm of the market's crossing matrices."""
        total = super().penalty(market)
        for crosses in self.crosses:
            total = total + _SPARSITY * crosses[market].abs().sum()
        return total
