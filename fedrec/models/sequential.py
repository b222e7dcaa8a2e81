"""The FeCoSR-style sequential model: shared adaptor and encoder, private adaptation.

After FeCoSR (arXiv 2604.13573), of which only the abstract is public here: this is a reconstruction. Items are known
across markets by a frozen semantic vector e only, or by codes; g is the shared adaptor (of codes: their embeddings) and
h the shared encoder's state, and item i scores cos(h, g(e_i)) / tau. A market's own knowledge (item identities, biases,
residual adapters, embeddings of its own codes) is added in the second stage and starts at zero, so that stage one is
untouched by it.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.components.encoder import Encoder, EncoderSizes
from fedrec.components.loss import Alike
from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings
from fedrec.exchange.groups import ParameterGroups
from fedrec.models.adaptor import CodeAdaptor, ItemCodes, SemanticAdaptor
from fedrec.models.federated import FederatedModel
from fedrec.recipe import ModelSettings
from fedrec.seeds import seeded_torch


class Catalogue(NamedTuple):
    """The market's items as the model sees them in one step."""

    vectors: Tensor  # [I, d] inputs of the encoder
    keys: Tensor  # [I, d + 1] what queries are compared with: direction and bias


class ResidualAdapter(nn.Module):
    """A private bottleneck added to a block's output (Houlsby et al., ICML 2019); zero at the start."""

    def __init__(self, dimension: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dimension, bottleneck)
        self.up = nn.Linear(bottleneck, dimension)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d] to [..., d]."""
        result: Tensor = x + self.up(F.gelu(self.down(x)))
        return result


class Adaptation(nn.Module):
    """What only one market knows: an identity and a bias per item, and ``adapters`` for the layers of the encoder.

    Where items have codes, also a vector per code of the market's own levels.
    """

    def __init__(self, items: int, settings: ModelSettings, adapters: int, own_sizes: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.levels = nn.ParameterList(torch.zeros(size + 1, settings.dimension) for size in own_sizes)
        self.identity = nn.Parameter(torch.zeros(items, settings.dimension))
        self.bias = nn.Parameter(torch.zeros(items))
        self.adapters = nn.ModuleList(ResidualAdapter(settings.dimension, settings.bottleneck) for _ in range(adapters))


class SequentialModel(FederatedModel):
    """Scores the next item of a history over one market's I items.

    ``queries(states) @ catalogue().keys.T`` are the scores, temperature and bias included. ``precision``: of the
    matrix products; losses, scores and the optimiser have float32 anyway.
    """

    groups = ParameterGroups(shared=("adaptor.", "encoder."), private=("adaptation.",))

    def __init__(
        self,
        settings: ModelSettings,
        encoder: ComponentSettings,
        semantics: Tensor,
        tau: float,
        codes: ItemCodes | None = None,
    ) -> None:
        super().__init__()
        self.tau = tau
        self.precision = torch.float32
        self.maximum_length = settings.maximum_length
        self.adaptor = (
            SemanticAdaptor(semantics.shape[1], settings.dimension)
            if codes is None
            else CodeAdaptor(codes.sizes, settings.dimension)
        )
        sizes = EncoderSizes(settings.dimension, settings.dropout, settings.maximum_length)
        self.encoder: Encoder = find("encoder", encoder.kind)(encoder, sizes)
        own_sizes = () if codes is None else codes.own_sizes
        self.adaptation = Adaptation(len(semantics), settings, self.encoder.adapted, own_sizes)
        self.semantics: Tensor
        self.register_buffer("semantics", semantics, persistent=False)  # [I, e], frozen
        self.codes: Tensor | None
        self.register_buffer("codes", None if codes is None else codes.common, persistent=False)  # [I, L_c]
        self.own_codes: Tensor | None
        self.register_buffer("own_codes", None if codes is None else codes.own, persistent=False)  # [I, L_o]

    @cached_property
    def distinct(self) -> tuple[Tensor, Alike | None]:
        """What the adaptor sees of the items, [D, ...], and which items look alike to it: those of the same codes."""
        if self.codes is None:
            return self.semantics, None
        inputs, place, counts = torch.unique(self.codes, dim=0, return_inverse=True, return_counts=True)
        return inputs, Alike(place, counts.to(self.semantics.dtype).log())

    def catalogue(self) -> Catalogue:
        """All items under the current parameters."""
        vectors = self.adaptor(self.semantics if self.codes is None else self.codes)  # [I, e] or [I, L_c] -> [I, d]
        vectors = vectors + self.adaptation.identity
        if self.own_codes is not None:
            for index, level in enumerate(self.adaptation.levels):
                vectors = vectors + level[self.own_codes[:, index]]
        keys = torch.cat([F.normalize(vectors, dim=-1), self.adaptation.bias[:, None]], dim=-1)  # [I, d + 1]
        return Catalogue(vectors, keys)

    def states(self, catalogue: Catalogue, items: Tensor) -> Tensor:
        """Encoder states [B, L, d] of right-padded histories ``items`` [B, L]."""
        result: Tensor = self.encoder(catalogue.vectors[items], self.adaptation.adapters)
        return result

    def predictions(self, catalogue: Catalogue, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What a training batch asks: states [N, d], and the items [N] that they should name.

        ``items`` [B, L] are histories of ``lengths`` [B]. A causal encoder names the next item at every place, a
        bidirectional one those that are hidden from it.
        """
        if not self.encoder.bidirectional:
            valid = _places(items[:, 1:], lengths - 1)
            return self.states(catalogue, items[:, :-1])[valid], items[:, 1:][valid]  # padding ends here
        valid = _places(items, lengths)
        hidden = self.encoder.hide(valid)
        return self._filled(catalogue.vectors[items], hidden, valid)[hidden], items[hidden]

    def next_states(self, catalogue: Catalogue, items: Tensor, lengths: Tensor) -> Tensor:
        """States [B, d] that ask for the item after histories ``items`` [B, L] of ``lengths`` [B]."""
        rows = torch.arange(len(items), device=items.device)
        if not self.encoder.bidirectional:
            return self.states(catalogue, items)[rows, lengths - 1]
        longer = F.pad(items, (0, 1))  # [B, L + 1]
        asked = torch.zeros_like(longer, dtype=torch.bool)
        asked[rows, lengths] = True
        return self._filled(catalogue.vectors[longer], asked, _places(longer, lengths + 1))[rows, lengths]

    def _filled(self, vectors: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        """A bidirectional encoder's states [B, L, d] with its mask in the ``hidden`` places [B, L]."""
        x = torch.where(hidden[..., None], self.encoder.mask, vectors)
        result: Tensor = self.encoder(x, self.adaptation.adapters, valid=valid)
        return result

    def queries(self, states: Tensor) -> Tensor:
        """Queries [N, d + 1] of states [N, d]: direction over temperature, and a one for the bias."""
        direction = F.normalize(states, dim=-1) / self.tau
        return torch.cat([direction, torch.ones_like(direction[:, :1])], dim=-1)


def _places(items: Tensor, lengths: Tensor) -> Tensor:
    """Which places of right-padded histories [B, L] hold an item, [B, L]."""
    return torch.arange(items.shape[1], device=items.device) < lengths[:, None]


def build_model(
    settings: ModelSettings,
    encoder: ComponentSettings,
    semantics: Tensor,
    tau: float,
    seed: int,
    codes: ItemCodes | None = None,
) -> SequentialModel:
    """A model whose shared parameters depend on the seed and the sizes alone: equal in every market and the server."""
    with seeded_torch(seed, "model"):
        return SequentialModel(settings, encoder, semantics, tau, codes)
