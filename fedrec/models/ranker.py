"""A small ranker over features of candidates: linear, plus one hidden layer. A few thousand numbers, all shared."""

import torch
from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.federated import FederatedModel
from fedrec.models.ranker_features import USER_FEATURES
from fedrec.seeds import seeded_torch


class Ranker(FederatedModel):
    """Scores candidates of ``features`` features; untrained it scores all alike.

    Every feature comes in two scalings: against the user's other candidates, and by the market's own moments, which are
    private. A spread of zero: the moments are not known yet.
    """

    groups = ParameterGroups(shared=("linear.", "hidden.", "output."), private=("moments_",))
    moments_mean: Tensor  # [D]
    moments_spread: Tensor

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        inputs = 2 * features
        self.register_buffer("moments_mean", torch.zeros(features))
        self.register_buffer("moments_spread", torch.zeros(features))
        self.linear = nn.Linear(inputs, 1, bias=False)
        self.hidden = nn.Linear(inputs + len(USER_FEATURES), hidden)
        self.output = nn.Linear(hidden, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.output.weight)

    def forward(self, candidates: Tensor, users: Tensor) -> Tensor:
        """Scores [..., K] of candidates [..., K, inputs], with what is known of their users [..., K, 3]."""
        inner = torch.relu(self.hidden(torch.cat([candidates, users], dim=-1)))  # [..., K, h]
        scores: Tensor = self.linear(candidates) + self.output(self.dropout(inner))
        return scores.squeeze(-1)


def build_ranker(features: int, hidden: int, dropout: float, seed: int) -> Ranker:
    """The untrained model, the same for the same sizes and seed."""
    with seeded_torch(seed, "model"):
        return Ranker(features, hidden, dropout)
