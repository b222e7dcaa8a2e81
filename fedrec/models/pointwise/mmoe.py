"""MMoE (Ma et al., Modeling Task Relationships in Multi-task Learning ..., KDD 2018): a market is a task.

Experts are shared; each market has a gate that mixes them and a tower of its own. Deviation: the paper's tasks share
every example; here an example belongs to one market and trains that market's gate and tower.
"""

import torch
from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.pointwise.interface import PairEmbedding, PairModel, Request, Sizes, perceptron


class Mmoe(PairModel):
    """Four experts, a gate and a tower for every market. Of a federation gates, towers and users stay at home."""

    groups = ParameterGroups(shared=("pair.items.", "experts."), private=("pair.users.", "gates.", "towers."))

    def __init__(self, sizes: Sizes, experts: int = 4) -> None:
        super().__init__()
        first, *rest = sizes.hidden
        self.pair = PairEmbedding(sizes)
        self.experts = nn.ModuleList(perceptron((self.pair.width, first)) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(self.pair.width, experts) for _ in range(sizes.markets))
        self.towers = nn.ModuleList(perceptron((first, *rest), last=True) for _ in range(sizes.markets))

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        pair = self.pair(request)  # [B, C, 2d]
        opinions = torch.stack([expert(pair) for expert in self.experts], dim=-1)  # [B, C, h, E]
        shares = self.gates[request.market](pair).softmax(dim=-1)  # [B, C, E]
        mixed = torch.einsum("bche,bce->bch", opinions, shares)
        result: Tensor = self.towers[request.market](mixed).squeeze(-1)
        return result
