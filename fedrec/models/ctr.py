"""Click-through models over categorical fields: Wide & Deep, DeepFM, DCN-v2, DIN.

An instance is F fields (identities and codes of user and item), each with an embedding of its own; a history is a
sequence of items, each with the item's fields. The backbones are small, so that what differs is what the fields say.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.recipe import CtrSettings
from fedrec.seeds import seeded_torch


class Fields(NamedTuple):
    """How many values each field has; the user's fields come before the item's."""

    user: tuple[int, ...]
    item: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """All fields."""
        return self.user + self.item


class CtrInput(NamedTuple):
    """N instances as a model sees them."""

    user: Tensor  # [N, F_u] int64
    item: Tensor  # [N, F_i] int64
    history: Tensor  # [N, L, F_i] int64
    valid: Tensor  # [N, L] which places of the history hold an item


class FieldEmbedding(nn.Module):
    """One table for several fields, each with a range of its own."""

    def __init__(self, sizes: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.table = nn.Embedding(sum(sizes), dimension)
        nn.init.normal_(self.table.weight, std=0.01)
        self.start: Tensor
        self.register_buffer("start", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """[..., F] to [..., F, d]."""
        result: Tensor = self.table(values + self.start)
        return result


class CtrModel(nn.Module):
    """A logit of [N]: a linear part over all fields plus what the backbone makes of their embeddings."""

    def __init__(self, fields: Fields, settings: CtrSettings) -> None:
        super().__init__()
        self.user_embedding = FieldEmbedding(fields.user, settings.dimension)
        self.item_embedding = FieldEmbedding(fields.item, settings.dimension)
        self.user_linear = FieldEmbedding(fields.user, 1)
        self.item_linear = FieldEmbedding(fields.item, 1)
        self.bias = nn.Parameter(torch.zeros(()))
        self.backbone = _BACKBONES[settings.backbone](len(fields.user), len(fields.item), settings)

    def forward(self, given: CtrInput) -> Tensor:
        """Logits [N]."""
        user, item = self.user_embedding(given.user), self.item_embedding(given.item)  # [N, F_u, d], [N, F_i, d]
        linear = self.user_linear(given.user).sum(dim=(1, 2)) + self.item_linear(given.item).sum(dim=(1, 2))  # [N]
        rest: Tensor = self.backbone(user, item, lambda: self.item_embedding(given.history), given.valid)
        return self.bias + linear + rest  # type: ignore[no-any-return]


class _Deep(nn.Module):
    """Wide & Deep (Cheng et al., DLRS 2016): a perceptron over all embeddings beside the linear part."""

    def __init__(self, user: int, item: int, settings: CtrSettings) -> None:
        super().__init__()
        self.perceptron = _perceptron((user + item) * settings.dimension, settings)

    def forward(self, user: Tensor, item: Tensor, history: object, valid: Tensor) -> Tensor:
        """[N] of embeddings [N, F_u, d] and [N, F_i, d]."""
        result: Tensor = self.perceptron(torch.cat([user, item], dim=1).flatten(1)).squeeze(-1)
        return result


class _DeepFM(_Deep):
    """DeepFM (Guo et al., IJCAI 2017): the products of all pairs of embeddings as well."""

    def forward(self, user: Tensor, item: Tensor, history: object, valid: Tensor) -> Tensor:
        """As above, plus sum_{f < g} v_f . v_g."""
        embedded = torch.cat([user, item], dim=1)  # [N, F, d]
        pairs = (embedded.sum(dim=1).square() - embedded.square().sum(dim=1)).sum(dim=-1) / 2  # [N]
        return pairs + super().forward(user, item, history, valid)


class _CrossNetwork(nn.Module):
    """DCN-v2 (Wang et al., WWW 2021), parallel: x_{l+1} = x_0 * (W x_l + b) + x_l beside a perceptron."""

    def __init__(self, user: int, item: int, settings: CtrSettings) -> None:
        super().__init__()
        width = (user + item) * settings.dimension
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.crosses))
        self.output = nn.Linear(width, 1)
        self.perceptron = _perceptron(width, settings)

    def forward(self, user: Tensor, item: Tensor, history: object, valid: Tensor) -> Tensor:
        """[N]."""
        start = crossed = torch.cat([user, item], dim=1).flatten(1)  # [N, F d]
        for cross in self.crosses:
            crossed = start * cross(crossed) + crossed
        result: Tensor = (self.output(crossed) + self.perceptron(start)).squeeze(-1)
        return result


class _InterestNetwork(nn.Module):
    """DIN (Zhou et al., KDD 2018): the history weighted by how each of its items meets the candidate.

    As there, weights are not normalised; PReLU stands for Dice.
    """

    def __init__(self, user: int, item: int, settings: CtrSettings) -> None:
        super().__init__()
        width = item * settings.dimension
        self.attention = nn.Sequential(nn.Linear(4 * width, 32), nn.PReLU(), nn.Linear(32, 1))
        self.perceptron = _perceptron((user * settings.dimension) + 2 * width, settings)

    def forward(self, user: Tensor, item: Tensor, history: object, valid: Tensor) -> Tensor:
        """[N]; ``history`` is called for the embeddings [N, L, F_i, d]."""
        past = history().flatten(2)  # type: ignore[operator]  # [N, L, w]
        candidate = item.flatten(1)[:, None].expand_as(past)  # [N, L, w]
        met = torch.cat([past, candidate, past - candidate, past * candidate], dim=-1)  # [N, L, 4 w]
        weight = self.attention(met).squeeze(-1) * valid  # [N, L]
        interest = (weight[:, :, None] * past).sum(dim=1)  # [N, w]
        result: Tensor = self.perceptron(torch.cat([user.flatten(1), item.flatten(1), interest], dim=-1)).squeeze(-1)
        return result


_BACKBONES = {"widedeep": _Deep, "deepfm": _DeepFM, "dcnv2": _CrossNetwork, "din": _InterestNetwork}


def build_ctr_model(fields: Fields, settings: CtrSettings, seed: int, market: str) -> CtrModel:
    """A model that depends on the seed, the market and the sizes."""
    with seeded_torch(seed, market, "ctr"):
        return CtrModel(fields, settings)


def ctr_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of labels [N] in {0, 1}."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def _perceptron(inputs: int, settings: CtrSettings) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in settings.hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(settings.dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
