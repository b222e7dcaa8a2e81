"""What all pointwise models have in common: what they are asked, what they answer, and how that is evaluated.

The sizes are those that ACMR's authors give for every model of their table (d 32, hidden layers 64-128-64-32).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.errors import RunError, UserError
from fedrec.models.federated import FederatedModel


@dataclass(frozen=True)
class Sizes:
    """How many users, items and markets there are, and how wide a model is."""

    users: int
    items: int
    markets: int
    dimension: int = 32
    hidden: tuple[int, ...] = (128, 64, 32)
    dropout: float = 0.3  # of the models with attention; the perceptrons have none
    maximum_length: int = 50  # a longer history keeps its latest items


class Request(NamedTuple):
    """Which items to score for which users, all of one market."""

    market: int
    users: Tensor  # [B] int64, numbered over all markets
    histories: Tensor  # [B, L] int64 items, right padded
    lengths: Tensor  # [B] int64, at least 1
    items: Tensor  # [B, C] int64

    def placed(self, rows: Tensor) -> "Request":
        """The same with items numbered otherwise: item i is row ``rows[i]``."""
        return self._replace(histories=rows[self.histories], items=rows[self.items])

    def of(self, rows: Tensor) -> "Request":
        """Some of its users."""
        return Request(self.market, *(tensor[rows] for tensor in self[1:]))

    def to(self, device: torch.device) -> "Request":
        """The same on a device."""
        return Request(self.market, *(tensor.to(device) for tensor in self[1:]))

    @property
    def valid(self) -> Tensor:
        """Which places of the histories hold an item, [B, L]."""
        return torch.arange(self.histories.shape[1], device=self.items.device) < self.lengths[:, None]


class PointwiseModel(nn.Module):
    """Maps a request to logits [B, C]: how likely each user is to interact with each item."""

    @property
    def positives_at_once(self) -> int:
        """How many positives of a user, with their negatives, are best read in one row of a training batch."""
        return 1

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        raise NotImplementedError

    def logits(self, request: Request) -> Tensor:
        """Logits [B, C]; raises :class:`RunError` where :meth:`forward` returns anything else."""
        found: Tensor = self(request)
        if found.shape != request.items.shape:
            users, items = request.items.shape
            raise RunError(
                f"{type(self).__name__}: forward returned shape {tuple(found.shape)} for {users} users, {items} items "
                "each; return one score for every user and item"
            )
        return found

    def loss(self, request: Request, labels: Tensor, counted: Tensor) -> Tensor:
        """Binary cross-entropy of the logits against ``labels`` [B, C], mean over those that are ``counted`` [B, C]."""
        return F.binary_cross_entropy_with_logits(self.logits(request)[counted], labels[counted])


class FederatedPointwise(PointwiseModel, FederatedModel):
    """One that a federation can train: it declares its parameter groups, and is built for one market."""

    needs_user = True
    """Whether it knows a user by a vector of that user; else by the history alone."""

    def user_states(self, request: Request) -> Tensor:
        """What it makes of the users of a request, without any candidate, [B, d]; for ``pacer.alignment``."""
        raise UserError(f"{type(self).__name__} says nothing of users without a candidate; set pacer.alignment=0")

    def item_vectors(self, rows: Tensor, market: int) -> Tensor | None:
        """What it makes of items [...] in a market, [..., d], for the run's page; None where there is no such thing."""
        return None


def table(rows: int, dimension: int) -> nn.Embedding:
    """An embedding table with small random rows."""
    result = nn.Embedding(rows, dimension)
    nn.init.normal_(result.weight, std=0.01)
    return result


def perceptron(sizes: Sequence[int], last: bool = False) -> nn.Sequential:
    """Linear maps between ``sizes``, a rectifier after each; ``last``: one more map, to a single number."""
    layers: list[nn.Module] = []
    for given, made in itertools.pairwise(sizes):
        layers += [nn.Linear(given, made), nn.ReLU()]
    if last:
        layers.append(nn.Linear(sizes[-1], 1))
    return nn.Sequential(*layers)


class PairEmbedding(nn.Module):
    """User and item vectors side by side: what every perceptron of the table starts from."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.users = table(sizes.users, sizes.dimension)
        self.items = table(sizes.items, sizes.dimension)
        self.width = 2 * sizes.dimension

    def forward(self, request: Request) -> Tensor:
        """[B, C, 2d]."""
        items = self.items(request.items)  # [B, C, d]
        users = self.users(request.users)[:, None].expand_as(items)  # [B, d] -> [B, C, d]
        return torch.cat([users, items], dim=-1)


class PairModel(FederatedPointwise):
    """One whose users and items have vectors side by side."""

    pair: PairEmbedding

    def user_states(self, request: Request) -> Tensor:
        """The users' vectors."""
        result: Tensor = self.pair.users(request.users)
        return result

    def item_vectors(self, rows: Tensor, market: int) -> Tensor:
        """The items' vectors."""
        result: Tensor = self.pair.items(rows)
        return result
