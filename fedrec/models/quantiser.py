"""Residual vector quantisation: a vector becomes one code a level, each level quantising what the one before left over.

As in RQ-VAE (Lee et al., CVPR 2022; TIGER, Rajput et al., NeurIPS 2023). All functions take codebooks as plain tensors:
who may change them (a federation, a gradient, k-means) is not decided here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from fedrec.exchange.codebook import beside


class Quantised(NamedTuple):
    """N vectors over L levels."""

    codes: Tensor  # [N, L] int64
    residuals: Tensor  # [L, N, d] what each level was given
    chosen: Tensor  # [L, N, d] the code vector it took

    @property
    def total(self) -> Tensor:
        """The quantised vectors [N, d]."""
        return self.chosen.sum(dim=0)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """The code of each vector [N, d] in ``codebook`` [K, d] by Euclidean distance, [N]; of equals the first."""
    # |v - c|^2 without |v|^2, which all codes share.
    return (codebook.square().sum(dim=-1) - 2 * vectors @ codebook.T).argmin(dim=-1)


def quantise(vectors: Tensor, codebooks: Sequence[Tensor]) -> Quantised:
    """Quantise [N, d] level by level. Codebooks [K_l, d] get gradients through ``chosen`` only, vectors through
    ``residuals`` only: a residual takes the code before it as given."""
    residual, codes, residuals, chosen = vectors, [], [], []
    for codebook in codebooks:
        code = nearest(residual.detach(), codebook.detach())  # [N]
        taken = codebook[code]  # [N, d]
        codes.append(code)
        residuals.append(residual)
        chosen.append(taken)
        residual = residual - taken.detach()
    return Quantised(torch.stack(codes, dim=1), torch.stack(residuals), torch.stack(chosen))


def straight_through(vectors: Tensor, quantised: Tensor) -> Tensor:
    """The value of ``quantised``, the gradient of ``vectors``."""
    return vectors + (quantised - vectors).detach()


def commitment(result: Quantised, beta: float) -> Tensor:
    """Sum over levels of mean |sg[r] - c|^2 + ``beta`` |r - sg[c]|^2, both per number; a scalar.

    Where a codebook is frozen, the first term is a constant without a gradient.
    """
    codebook = F.mse_loss(result.chosen, result.residuals.detach(), reduction="none").mean(dim=(1, 2)).sum()
    encoder = F.mse_loss(result.residuals, result.chosen.detach(), reduction="none").mean(dim=(1, 2)).sum()
    return codebook + beta * encoder


def initial_codebook(vectors: NDArray[np.floating], size: int, seed: int) -> NDArray[np.float32]:
    """k-means centres [size, d] of [N, d]; where there are too few distinct vectors, copies that lie a little apart."""
    distinct = np.unique(np.asarray(vectors, np.float64), axis=0)
    clusters = min(size, len(distinct))
    centres = KMeans(clusters, n_init=4, random_state=seed % 2**32).fit(vectors).cluster_centers_
    centres = centres.astype(np.float32)
    copies = centres[np.arange(size - clusters) % clusters]
    return np.concatenate([centres, beside(copies, centres, np.random.default_rng(seed))])


class Usage(NamedTuple):
    """How a codebook of K codes is used."""

    perplexity: float  # exp of the entropy of the codes, in [1, K]; 0 where nothing was coded
    dead: int  # codes nobody uses


def usage(counts: NDArray[np.integer]) -> Usage:
    """Of code counts [K].

    >>> usage(np.array([5, 5, 0]))
    Usage(perplexity=2.0, dead=1)
    """
    total = counts.sum()
    if not total:
        return Usage(0.0, len(counts))
    share = counts[counts > 0] / total
    return Usage(round(float(np.exp(-(share * np.log(share)).sum())), 12), int((counts == 0).sum()))
