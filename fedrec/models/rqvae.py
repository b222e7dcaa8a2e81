"""The codes of a market's items: a residual-quantised autoencoder with common and own levels.

After FedMM (arXiv 2605.11433), of which little is public: a reconstruction. Two kinds of input describe an item:
``common`` [N, c], which means the same in every market (factors of summed counts, texts, or vectors turned onto a
public anchor), and ``own`` [N, o], the market's collaborative vector. How they meet is the alignment:

- ``gram`` and ``layered``: common levels quantise the encoded common input; own levels quantise, by an encoder of
  their own, what the market's vector has beyond the common codes (see ``training.codes``: it comes as ``own``).
- ``semantic`` and ``procrustes``: one encoder, all levels quantise its output one after the other. Under ``semantic`` a
  contrastive loss draws an item's codes towards its collaborative vector.
- ``none``: the same with private encoders; the common codebook then means something else in every market (a control).

Common codebooks are never trained by a gradient: see :mod:`fedrec.exchange.codebook`.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.exchange.groups import ParameterGroups
from fedrec.models.federated import FederatedModel
from fedrec.models.quantiser import Quantised, commitment, initial_codebook, quantise, straight_through
from fedrec.recipe import Alignment, CodesSettings
from fedrec.seeds import derive_seed, numpy_generator, seeded_torch

LAYERED = frozenset({"gram", "layered"})
_TEMPERATURE = 0.1  # of the contrastive loss
_MIN_VARIANCE = 0.05  # of the mean square
_FIRST = 0.1  # size of the numbers of a codebook drawn from the seed
_DIRECTIONS = 16  # random directions per code


class Coded(NamedTuple):
    """N items through the autoencoder."""

    codes: Tensor  # [N, L] common levels first
    common: Quantised | None  # where there are common levels
    own: Quantised | None
    loss: Tensor  # scalar
    explained: Tensor  # scalar: 1 - squared error / variance of what was reconstructed


class Perceptron(nn.Module):
    """A linear map and what two layers add to it, which is nothing at the start.

    So the untrained encoder keeps the geometry of what it is given, and codes are never worse than k-means would make
    them; a plain perceptron loses half of what they explain, and its codes die out where it learns fast.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs] to [N, outputs]."""
        result: Tensor = self.linear(x) + self.output(F.gelu(self.hidden(x)))
        return result


class RqVae(FederatedModel):
    """Encoders, decoders and codebooks of one market. ``common`` and ``own`` are the widths of the inputs."""

    groups = ParameterGroups(shared=("encoder.", "decoder."), private=("own_encoder.", "own_decoder.", "own_codebook."))

    def __init__(self, settings: CodesSettings, alignment: Alignment, common: int, own: int) -> None:
        super().__init__()
        self.settings = settings
        self.alignment = alignment
        size, hidden = settings.dimension, settings.hidden
        if alignment != "none":
            self.encoder = Perceptron(common, hidden, size)
            self.decoder = Perceptron(size, hidden, common)
        if alignment in LAYERED | {"none", "semantic"}:
            self.own_encoder = Perceptron(own, hidden, size)
        if alignment in LAYERED | {"none"}:
            self.own_decoder = Perceptron(size, hidden, own)
        self.codebook: list[Tensor] = [torch.zeros(codes, size) for codes in settings.global_levels]
        self.own_codebook = nn.ParameterList(torch.zeros(codes, size) for codes in settings.local_levels)

    def first(self, common: Tensor, own: Tensor) -> Tensor:
        """What the first level quantises, [N, d]."""
        result: Tensor = self.own_encoder(own) if self.alignment == "none" else self.encoder(common)
        return result

    def levels(
        self, common: Tensor, own: Tensor, common_levels_only: bool = False
    ) -> tuple[Tensor, Quantised | None, Tensor, Quantised | None]:
        """Input [N, d] and outcome of the common levels, then of the own ones."""
        start = self.first(common, own)
        shared = quantise(start, self.codebook) if self.codebook else None
        left = start if shared is None else start - shared.total
        rest = self.own_encoder(own) if self.alignment in LAYERED else left
        private = len(self.own_codebook) > 0 and not common_levels_only
        return start, shared, rest, quantise(rest, list(self.own_codebook)) if private else None

    def forward(
        self, common: Tensor, own: Tensor, common_levels_only: bool = False, own_known: Tensor | None = None
    ) -> Coded:
        """Encode, quantise, decode [N, c] and [N, o].

        ``common_levels_only`` is what a round of the federation trains: the own levels come when it is over.
        ``own_known`` [N] says which own vectors are there for the contrastive loss; default: all.
        """
        start, shared, rest, private = self.levels(common, own, common_levels_only)
        loss = start.new_zeros(())
        for result in (shared, private):
            if result is not None:
                loss = loss + commitment(result, self.settings.beta)
        base = torch.zeros_like(start) if shared is None else shared.total  # [N, d]
        if self.alignment in LAYERED:
            told = [(self.decoder(start if shared is None else straight_through(start, base)), common)]
            if private is not None:
                told.append((self.own_decoder(straight_through(rest, private.total)), own))
        else:
            total = base if private is None else base + private.total
            both = start if shared is None and private is None else straight_through(start, total)
            decoder, target = (self.own_decoder, own) if self.alignment == "none" else (self.decoder, common)
            told = [(decoder(both), target)]
            if self.alignment == "semantic" and self.settings.contrast:
                rows = torch.ones(len(own), dtype=torch.bool, device=own.device) if own_known is None else own_known
                if rows.any():
                    loss = loss + self.settings.contrast * _contrast(both[rows], self.own_encoder(own[rows]))
        errors = torch.stack([_error(found, wanted) for found, wanted in told])
        none = torch.zeros(len(start), 0, dtype=torch.int64, device=start.device)
        codes = torch.cat([none, *(result.codes for result in (shared, private) if result is not None)], dim=1)
        return Coded(codes, shared, private, loss + errors.sum(), 1 - errors.detach().mean())


def build_rqvae(settings: CodesSettings, alignment: Alignment, common: int, own: int, seed: int) -> RqVae:
    """An autoencoder whose shared parameters depend on the seed and ``common`` alone: equal in every market."""
    with seeded_torch(seed, "rqvae"):
        return RqVae(settings, alignment, common, own)


@torch.no_grad()
def first_codebooks(model: RqVae, common: Tensor | None, seed: int) -> list[NDArray[np.float32]]:
    """The common codebooks before any round, the same for all markets: one a level.

    By k-means on what the untrained encoder makes of ``common`` [N, c], the items of all markets; where nobody has them
    in one place, of random directions drawn from the seed, for the first rounds' counts and sums to put right. Where
    encoders are private there is nothing to start from but the seed.
    """
    sizes, dimension = model.settings.global_levels, model.settings.dimension
    generator = numpy_generator(seed, "codebook")
    if model.alignment == "none":
        return [generator.standard_normal((size, dimension)).astype(np.float32) * _FIRST for size in sizes]
    if common is None:
        width = int(model.encoder.linear.in_features)
        directions = generator.standard_normal((_DIRECTIONS * max(sizes, default=1), width)).astype(np.float32)
        common = torch.from_numpy(directions)
    result: list[NDArray[np.float32]] = []
    rest = model.encoder(common.to(next(model.parameters(), common).device)).cpu()
    for level, size in enumerate(sizes):
        result.append(initial_codebook(rest.numpy(), size, derive_seed(seed, "codebook", level)))
        rest = rest - quantise(rest, [torch.from_numpy(result[-1])]).total
    return result


def _error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over the variance of what was wanted: 1 for a constant guess of the mean.

    A batch of one item has no variance; a twentieth of the mean square stands in for what is less.
    """
    variance = (wanted - wanted.mean(dim=0)).square().mean()
    least = (_MIN_VARIANCE * wanted.square().mean()).clamp_min(1e-12)
    return F.mse_loss(found, wanted) / torch.maximum(variance, least)


def _contrast(left: Tensor, right: Tensor) -> Tensor:
    """Contrastive loss (InfoNCE) of matching rows [N, d] against all others of the batch, both ways."""
    scores = F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T / _TEMPERATURE  # [N, N]
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
