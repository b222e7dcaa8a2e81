"""Cross-Stitch networks (Misra et al., CVPR 2016): after every layer the two towers mix what they hold.

Deviations: perceptrons instead of convolutions, and one two by two stitch for a layer of a market instead of one for
each channel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.pointwise.interface import Sizes
from fedrec.models.pointwise.towers import Pair, PairedTowers


class CrossStitch(PairedTowers):
    """Learned mixtures, nine tenths of one's own at the start."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        start = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        self.stitches = nn.Parameter(start.repeat(sizes.markets, len(sizes.hidden), 1, 1))  # [M, layers, 2, 2]

    def layer(self, market: int, depth: int, own: Tensor, common: Tensor) -> Pair:
        """Each tower's own layer, then the stitch."""
        own = F.relu(self.tower(market).layers[depth](own))
        common = F.relu(self.common.layers[depth](common))
        mix = self.stitches[market, depth]
        return mix[0, 0] * own + mix[0, 1] * common, mix[1, 0] * own + mix[1, 1] * common
