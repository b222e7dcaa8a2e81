"""Semantic soft cross-entropy (S2CE), after FeCoSR (arXiv 2604.13573); the formula is our reconstruction.

The target of an interaction with item t is y = (1 - lam) onehot(t) + lam q(t), where q(t) is a softmax over the cosine
similarity of frozen semantic vectors, restricted to the ``neighbours`` nearest items other than t. Because y sums to
one, the loss against p = softmax(z) is

    S2CE = logsumexp_i(z_i) - sum_i y_i z_i = logsumexp_i(z_i) - query . (sum_i y_i key_i)

so it costs cross-entropy plus a gather of ``neighbours`` keys: no dense item-item matrix and no second softmax.
``lam`` 0 is plain cross-entropy. An item without semantic evidence keeps its hard target.
"""

from functools import cached_property
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedrec.components.capability import Capability
from fedrec.components.loss import Alike, Items, Loss, LossSettings
from fedrec.losses.nearest import SIMILARITIES, nearest_items

_IN_CACHE, _ON_GPU = 2**19, 2**27  # scores held: 2 MB, within a core's cache; half a gigabyte
_FEWEST_ROWS = 32  # at a time: products of fewer are slow
# With more keys than this, a part of the rows is compared at a time: all at once is worse than computing twice.
_MANY_KEYS = 2**17
_ROWS = 256  # that are then compared at a time


class SoftTargets(NamedTuple):
    """q: for every item its nearest items and their probabilities; a zero row means the target stays hard."""

    neighbours: Tensor  # [I, k] int64
    weights: Tensor  # [I, k], rows sum to one or to zero

    @property
    def perplexity(self) -> float:
        """exp of the mean entropy of q over the softened items: how many items a target is spread over, in [1, k].

        0 where nothing is softened.
        """
        rows = self.weights[self.weights.sum(dim=-1) > 0]
        if not len(rows):
            return 0.0
        entropy = -(rows * rows.clamp_min(1e-12).log()).sum(dim=-1)
        return float(entropy.mean().exp())


def semantic_neighbours(
    semantics: Tensor,
    k: int,
    tau_s: float,
    known: Tensor | None = None,
    exact_items: int = 20_000,
    held: int = SIMILARITIES,
) -> SoftTargets:
    """Soft targets of the I items of ``semantics`` [I, e]; an item is never its own neighbour.

    Args:
        semantics: frozen vectors.
        k: neighbours per item; cut to what is there.
        tau_s: > 0; towards 0 all mass goes to the nearest item, towards infinity it is uniform.
        known: [I], False for items whose vector carries no meaning: they get no soft target and are nobody's
            neighbour. Default: all are known.
        exact_items: neighbours of more items are searched approximately.
        held: similarities in memory at a time.
    """
    known = torch.ones(len(semantics), dtype=torch.bool, device=semantics.device) if known is None else known
    neighbours, cosines = nearest_items(semantics, known, k, exact_items, held)
    # A row of nothing but -inf (nobody near) becomes nan in the softmax, and then zero.
    weights = torch.softmax(cosines / tau_s, dim=-1).nan_to_num(0.0)
    return SoftTargets(neighbours, weights * known[:, None])


class _LogPartition(torch.autograd.Function):
    """Weighted sum of logsumexp(queries @ keys.T), some rows at a time; their gradients are made while their scores are
    at hand.

    Every score is computed once and exponentiated once, in a block that stays in the cache; kept for the backward pass
    are two arrays of the size of the inputs, not the scores. (The same idea for language models: Liger Kernel, Hsu et
    al., arXiv 2410.10989.) Of so many keys that few rows of scores fit, scores are computed twice, against some keys at
    a time: for the sums, which are kept as in an online softmax (Milakov & Gimelshein, arXiv 1805.02867), and for the
    gradients.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, row_weights: Tensor, scores_held: int) -> Tensor:
        query_gradient, key_gradient = torch.empty_like(queries), torch.zeros_like(keys)
        rows = max(scores_held // len(keys), 1)
        if rows < min(len(queries), _FEWEST_ROWS):
            total = _in_two_passes(queries, keys, row_weights, scores_held, query_gradient, key_gradient)
            ctx.save_for_backward(query_gradient, key_gradient)
            return total
        total = queries.new_zeros(())
        for start in range(0, len(queries), rows):
            block = slice(start, start + rows)
            probability = queries[block] @ keys.T  # [n, I] scores, turned into probabilities in place
            highest = probability.amax(dim=-1, keepdim=True)
            mass = probability.sub_(highest).exp_().sum(dim=-1, keepdim=True)
            weights = row_weights[block, None]  # [n, 1]
            total += (weights * (highest + mass.log())).sum()
            probability *= weights / mass
            torch.mm(probability, keys, out=query_gradient[block])
            key_gradient.addmm_(probability.T, queries[block])
        ctx.save_for_backward(query_gradient, key_gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        query_gradient, key_gradient = ctx.saved_tensors
        return query_gradient * gradients[0], key_gradient * gradients[0], None, None


def _in_two_passes(
    queries: Tensor, keys: Tensor, row_weights: Tensor, scores_held: int, query_gradient: Tensor, key_gradient: Tensor
) -> Tensor:
    """The weighted sum, where some rows are compared with some keys at a time; fills both gradients."""
    total = queries.new_zeros(())
    columns = max(scores_held // min(len(queries), _ROWS), 1)
    parts = [slice(start, start + columns) for start in range(0, len(keys), columns)]
    for start in range(0, len(queries), _ROWS):
        block = slice(start, start + _ROWS)
        some, weights = queries[block], row_weights[block, None]  # [n, d], [n, 1]
        highest, mass = some.new_full((len(some), 1), -torch.inf), some.new_zeros((len(some), 1))
        for part in parts:
            scores = some @ keys[part].T  # [n, c]
            higher = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
            mass = mass * (highest - higher).exp() + scores.sub_(higher).exp_().sum(dim=-1, keepdim=True)
            highest = higher
        partition = highest + mass.log()
        total += (weights * partition).sum()
        query_gradient[block] = 0
        for part in parts:
            probability = (some @ keys[part].T).sub_(partition).exp_().mul_(weights)
            query_gradient[block].addmm_(probability, keys[part])
            key_gradient[part].addmm_(probability.T, some)
    return total


def mean_log_partition(
    queries: Tensor, keys: Tensor, scores_held: int | None = None, weights: Tensor | None = None
) -> Tensor:
    """Mean over ``queries`` [N, d], N >= 1, of the exact logsumexp of their scores with all ``keys`` [I, d]; a scalar.

    ``scores_held``: how many of the N x I scores exist at a time; default: what suits the device's cache or memory.
    ``weights`` [N]: what each query counts instead of one in N; they need not sum to one.
    """
    held = scores_held
    if held is None:
        held = _IN_CACHE if queries.device.type == "cpu" else _ON_GPU
        if len(keys) <= _MANY_KEYS:
            held = max(held, _FEWEST_ROWS * len(keys))
    if weights is None:
        weights = queries.new_full((len(queries),), 1 / len(queries))
    result: Tensor = _LogPartition.apply(queries, keys, weights, held)  # type: ignore[no-untyped-call]
    return result


def s2ce(
    queries: Tensor,
    keys: Tensor,
    targets: Tensor,
    soft: SoftTargets | None,
    lam: float,
    scores_held: int | None = None,
    weights: Tensor | None = None,
    alike: Alike | None = None,
) -> Tensor:
    """Mean S2CE of N interactions, N >= 1.

    Args:
        queries: [N, d], temperature already applied.
        keys: [I, d], the market's whole catalogue.
        targets: [N], item indices.
        soft: the soft targets q; not needed when ``lam`` is 0.
        lam: mass moved from the target to its neighbours, in [0, 1).
        scores_held: see :func:`mean_log_partition`.
        weights: [N], what each interaction counts instead of one in N.
        alike: then ``keys`` are [D, d], the distinct ones, and the last number of every query is one; the loss is what
            it would be with a key per item.
    """
    barycentre = keys[targets if alike is None else alike.place[targets]]  # [N, d]: sum_i y_i key_i
    if lam > 0:
        if soft is None:
            raise ValueError("lam > 0 needs soft targets")
        moved = lam * soft.weights[targets].to(keys.dtype)  # [N, k]
        neighbours = soft.neighbours[targets] if alike is None else alike.place[soft.neighbours[targets]]
        near = F.embedding_bag(neighbours, keys, per_sample_weights=moved, mode="sum")  # [N, d]
        barycentre = (1 - moved.sum(dim=-1, keepdim=True)) * barycentre + near
    if alike is not None:  # k items of one key have the mass of one whose bias is larger by log k
        keys = torch.cat([keys[:, :-1], keys[:, -1:] + alike.log_counts[:, None]], dim=1)
    own = (queries * barycentre).sum(dim=-1)  # [N]
    return mean_log_partition(queries, keys, scores_held, weights) - (own.mean() if weights is None else own @ weights)


def s2ce_of_scores(
    scores: Tensor, targets: Tensor, soft: SoftTargets | None, lam: float, alike: Alike | None = None
) -> Tensor:
    """S2CE of every position, [...], from ``scores`` [..., I], or [..., D] with ``alike``."""
    whole = scores if alike is None else scores + alike.log_counts
    own = scores.gather(-1, (targets if alike is None else alike.place[targets])[..., None])[..., 0]  # [B, L]
    if soft is not None and lam > 0:
        moved = lam * soft.weights[targets]  # [B, L, k]
        neighbours = soft.neighbours[targets] if alike is None else alike.place[soft.neighbours[targets]]
        own = (1 - moved.sum(dim=-1)) * own + (moved * scores.gather(-1, neighbours)).sum(dim=-1)
    return whole.logsumexp(dim=-1) - own


class S2CESettings(LossSettings):
    """Of loss.kind s2ce. ``lam`` 0 is plain cross-entropy."""

    kind: str = "s2ce"
    lam: float = Field(default=0.3, ge=0, lt=1, description="share of a target's mass moved to similar items")
    tau_s: float = Field(default=0.1, ge=1e-3, le=1e3, description="temperature among the similar items")
    neighbours: int = Field(default=20, ge=1, le=1000, description="similar items a target is spread over")
    exact_items: int = Field(default=20_000, ge=0, description="in larger catalogues they are searched approximately")


class S2CE(Loss):
    """Soft targets in the rounds of the federation; a market's own stage two has hard ones."""

    Settings = S2CESettings
    capabilities = frozenset({Capability.USER_PRIVACY})

    def __init__(self, settings: S2CESettings, items: Items, lam: float | None = None) -> None:
        super().__init__(settings, items)
        self.lam = settings.lam if lam is None else lam

    @cached_property
    def soft(self) -> SoftTargets | None:
        """Over the market's catalogue; None where nothing is moved."""
        if self.lam == 0:
            return None
        settings, items = self.settings, self.items
        return semantic_neighbours(
            items.semantics, settings.neighbours, settings.tau_s, items.known, settings.exact_items
        )

    def __call__(
        self, queries: Tensor, keys: Tensor, targets: Tensor, weights: Tensor | None = None, alike: Alike | None = None
    ) -> Tensor:
        """A scalar."""
        return s2ce(queries, keys, targets, self.soft, self.lam, weights=weights, alike=alike)

    def of_scores(self, scores: Tensor, targets: Tensor, alike: Alike | None = None) -> Tensor:
        """[...]."""
        return s2ce_of_scores(scores, targets, self.soft, self.lam, alike)

    def hard(self) -> "S2CE":
        """Cross-entropy."""
        return S2CE(self.settings, self.items, lam=0.0)

    @cached_property
    def perplexity(self) -> float | None:
        """Over how many items a target is spread."""
        return None if self.soft is None else self.soft.perplexity
