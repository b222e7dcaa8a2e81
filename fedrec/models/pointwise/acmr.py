"""ACMR (Hu et al., Enhancing cross-market recommendations ..., Information Systems 2024).

An item is the sum of its embedding and its market's; four bidirectional layers read the history and the candidate
together; the mean of the history's states is the user, and a linear map of user and candidate is the logit. Positions
have no embedding. Two forms of one model, with the same parameters:

- ``joint``, as published: history and candidate are one sequence, so each candidate costs a pass over the history;
- ``history``, our default: candidates attend to the history and themselves, the history only to itself. The user is
  then the same for all candidates, and what ranks them is what each attended to. It is several times cheaper, and it
  is what a market could serve.

Other deviations: of a longer history the latest items are kept, where the authors draw some, and the share that dropout
takes is rounded to a 256th.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.pointwise.attention import BidirectionalBlock, dropout, mean_of_valid
from fedrec.models.pointwise.interface import FederatedPointwise, Request, Sizes

Attention = Literal["history", "joint"]


class Acmr(FederatedPointwise):
    """Attention over items in their market. Of a federation only the market embedding stays at home."""

    groups = ParameterGroups(shared=("items.", "norm.", "blocks.", "output."), private=("markets.",))
    needs_user = False

    def __init__(
        self, sizes: Sizes, layers: int = 4, heads: int = 8, attention: Attention = "history", knows_market: bool = True
    ) -> None:
        super().__init__()
        self.attention, self.knows_market, self.dropout = attention, knows_market, sizes.dropout
        self.items = nn.Embedding(sizes.items, sizes.dimension)
        self.markets = nn.Embedding(sizes.markets, sizes.dimension)
        self.norm = nn.LayerNorm(sizes.dimension)
        self.blocks = nn.ModuleList(BidirectionalBlock(sizes.dimension, heads, sizes.dropout) for _ in range(layers))
        self.output = nn.Linear(2 * sizes.dimension, 1)

    @property
    def positives_at_once(self) -> int:
        """How many positives of a user, with their negatives, are best read in one row of a training batch."""
        return 8 if self.attention == "history" else 1

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        users, candidates = self._jointly(request) if self.attention == "joint" else self._by_history(request)
        result: Tensor = self.output(torch.cat([users, candidates], dim=-1)).squeeze(-1)
        return result

    def user_states(self, request: Request) -> Tensor:
        """The mean of what the history's items read of each other, [B, d]: the user without any candidate."""
        states = self._encode(self.embed(request.histories, request.market), request.valid)
        return mean_of_valid(states, request.valid)

    def item_vectors(self, rows: Tensor, market: int) -> Tensor:
        """An item's embedding with the market's own added."""
        return self.embed(rows, market)

    def embed(self, items: Tensor, market: int) -> Tensor:
        """What the blocks read of items [...] in a market, [..., d]."""
        vectors = self.items(items)  # [..., d]
        if self.knows_market:
            vectors = vectors + self.markets.weight[market]
        return dropout(self.norm(vectors), self.dropout, self.training)

    def _encode(self, x: Tensor, valid: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, valid)
        return x

    def _by_history(self, request: Request) -> tuple[Tensor, Tensor]:
        """Users [B, C, d] and candidates [B, C, d] of sequences [history, all candidates]."""
        valid = request.valid
        x = self.embed(torch.cat([request.histories, request.items], dim=1), request.market)
        states = self._encode(x, valid)  # [B, L + C, d]
        users = mean_of_valid(states[:, : valid.shape[1]], valid)  # [B, d]
        candidates = states[:, valid.shape[1] :]
        return users[:, None].expand_as(candidates), candidates

    def _jointly(self, request: Request) -> tuple[Tensor, Tensor]:
        """The same of sequences [history, one candidate]."""
        batch, count = request.items.shape
        valid = request.valid.repeat_interleave(count, dim=0)  # [B * C, L]
        histories = request.histories.repeat_interleave(count, dim=0)
        x = self.embed(torch.cat([histories, request.items.reshape(-1, 1)], dim=1), request.market)
        states = self._encode(x, F.pad(valid, (0, 1), value=True))  # [B * C, L + 1, d]
        users = mean_of_valid(states[:, :-1], valid)  # [B * C, d]
        return users.view(batch, count, -1), states[:, -1].view(batch, count, -1)
