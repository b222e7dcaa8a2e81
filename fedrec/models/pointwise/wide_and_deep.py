"""Wide & Deep (Cheng et al., DLRS 2016), on one market or, as Wide&Deep++, on all.

A linear part over the identities beside a perceptron over their embeddings. Deviation: the paper's crossed features
need attributes; of user and item keys alone the only cross is the pair itself, which no test pair has ever been.
"""

from torch import Tensor

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.pointwise.interface import PairEmbedding, PairModel, Request, Sizes, perceptron, table


class WideAndDeep(PairModel):
    """Weight of the user plus weight of the item plus a perceptron. Of a federation what is a user's stays at home."""

    groups = ParameterGroups(shared=("pair.items.", "wide_items.", "deep."), private=("pair.users.", "wide_users."))

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.wide_users = table(sizes.users, 1)
        self.wide_items = table(sizes.items, 1)
        self.pair = PairEmbedding(sizes)
        self.deep = perceptron((self.pair.width, *sizes.hidden), last=True)

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        wide = self.wide_users(request.users) + self.wide_items(request.items).squeeze(-1)  # [B, 1] + [B, C]
        result: Tensor = wide + self.deep(self.pair(request)).squeeze(-1)
        return result
