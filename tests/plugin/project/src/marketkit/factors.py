"""An algorithm: matrix factorisation, the items' half shared."""

from typing import Literal

from torch import nn

from fedrec.components import FederatedPointwise, ParameterGroups, PointwiseAlgorithm, PointwiseSettings


class Factors(FederatedPointwise):
    """Product of a user's and an item's vector."""

    groups = ParameterGroups(shared=("items.",), private=("users.",))

    def __init__(self, sizes, scale):
        super().__init__()
        self.scale = scale
        self.users = nn.Embedding(sizes.users, sizes.dimension)
        self.items = nn.Embedding(sizes.items, sizes.dimension)

    def forward(self, request):
        return self.scale * (self.users(request.users)[:, None] * self.items(request.items)).sum(-1)


class Factorisation(PointwiseAlgorithm):
    """With a key of its own."""

    class Settings(PointwiseSettings):
        kind: Literal["factors"] = "factors"
        scale: float = 0.3

    @classmethod
    def model(cls):
        return Factors

    def make(self, sizes):
        return Factors(sizes, self.settings.scale)
