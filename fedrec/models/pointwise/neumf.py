"""NeuMF (He et al., Neural Collaborative Filtering, WWW 2017), on one market or, as NeuMF++, on all.

A generalised matrix factorisation and a perceptron, each with embeddings of its own, feed one output. Deviations of the
table's protocol: neither half is pre-trained, d is 32 instead of 8, and NeuMF++ is told nothing of the market.
"""

import torch
from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.pointwise.interface import PairEmbedding, PairModel, Request, Sizes, perceptron, table


class NeuMF(PairModel):
    """Product of vectors beside a perceptron over other vectors. Of a federation users' vectors stay at home."""

    groups = ParameterGroups(
        shared=("pair.items.", "factor_items.", "perceptron.", "output."),
        private=("pair.users.", "factor_users.", "head."),
    )

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pair = PairEmbedding(sizes)
        self.factor_users = table(sizes.users, sizes.dimension)
        self.factor_items = table(sizes.items, sizes.dimension)
        self.perceptron = perceptron((self.pair.width, *sizes.hidden))
        self.output = nn.Linear(sizes.hidden[-1] + sizes.dimension, 1)

    def features(self, request: Request) -> Tensor:
        """What the output sees, [B, C, h + d]."""
        product = self.factor_users(request.users)[:, None] * self.factor_items(request.items)  # [B, C, d]
        return torch.cat([self.perceptron(self.pair(request)), product], dim=-1)

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        result: Tensor = self.output(self.features(request)).squeeze(-1)
        return result
