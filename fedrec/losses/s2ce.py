"""Semantic soft cross-entropy (S2CE), after FeCoSR (arXiv 2604.13573); the formula is our reconstruction.

The target of an interaction with item t is y = (1 - lam) onehot(t) + lam q(t), where q(t) is a softmax over the cosine
similarity of frozen semantic vectors, restricted to the ``neighbours`` nearest items other than t. Because y sums to
one, the loss against p = softmax(z) is

    S2CE = logsumexp_i(z_i) - sum_i y_i z_i = logsumexp_i(z_i) - query . (sum_i y_i key_i)

so it costs cross-entropy plus a gather of ``neighbours`` keys: no dense item-item matrix and no second softmax.
``lam`` 0 is plain cross-entropy. An item without semantic evidence keeps its hard target.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


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
    semantics: Tensor, k: int, tau_s: float, known: Tensor | None = None, chunk: int = 2048
) -> SoftTargets:
    """Soft targets of the I items of ``semantics`` [I, e]; an item is never its own neighbour.

    Args:
        semantics: frozen vectors.
        k: neighbours per item; cut to what is there.
        tau_s: > 0; towards 0 all mass goes to the nearest item, towards infinity it is uniform.
        known: [I], False for items whose vector carries no meaning: they get no soft target and are nobody's
            neighbour. Default: all are known.
        chunk: rows compared at a time.
    """
    unit = F.normalize(semantics, dim=-1)
    known = torch.ones(len(unit), dtype=torch.bool, device=unit.device) if known is None else known
    indices, values = [], []
    for start in range(0, len(unit), chunk):
        similarity = unit[start : start + chunk] @ unit.T  # [c, I]
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, rows + start] = -torch.inf
        similarity[:, ~known] = -torch.inf
        top = similarity.topk(min(k, len(unit)), dim=-1)
        indices.append(top.indices)
        values.append(top.values)
    # A row of nothing but -inf (nobody near) becomes nan in the softmax, and then zero.
    weights = torch.softmax(torch.cat(values) / tau_s, dim=-1).nan_to_num(0.0)
    return SoftTargets(torch.cat(indices), weights * known[:, None])


class _ChunkedLogSumExp(torch.autograd.Function):
    """logsumexp(queries @ keys.T) without ever holding more than ``chunk`` columns of scores."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, chunk: int) -> Tensor:
        total = torch.full_like(queries[:, 0], -torch.inf)
        for part in torch.split(keys, chunk):
            total = torch.logaddexp(total, torch.logsumexp(queries @ part.T, dim=-1))
        ctx.save_for_backward(queries, keys, total)
        ctx.chunk = chunk
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, keys, total = ctx.saved_tensors
        (gradient,) = gradients
        query_gradient = torch.zeros_like(queries)
        key_gradients = []
        for part in torch.split(keys, ctx.chunk):
            weight = (queries @ part.T - total[:, None]).exp() * gradient[:, None]  # [N, c]
            query_gradient += weight @ part
            key_gradients.append(weight.T @ queries)
        return query_gradient, torch.cat(key_gradients), None


def log_partition(queries: Tensor, keys: Tensor, chunk: int) -> Tensor:
    """logsumexp over all items of ``queries`` [N, d] with ``keys`` [I, d], exact, [N]; in chunks above ``chunk``."""
    if len(keys) <= chunk:
        return torch.logsumexp(queries @ keys.T, dim=-1)
    result: Tensor = _ChunkedLogSumExp.apply(queries, keys, chunk)  # type: ignore[no-untyped-call]
    return result


def s2ce(
    queries: Tensor, keys: Tensor, targets: Tensor, soft: SoftTargets | None, lam: float, chunk: int = 8192
) -> Tensor:
    """Mean S2CE of N interactions.

    Args:
        queries: [N, d], temperature already applied.
        keys: [I, d], the market's whole catalogue.
        targets: [N], item indices.
        soft: the soft targets q; not needed when ``lam`` is 0.
        lam: mass moved from the target to its neighbours, in [0, 1).
        chunk: catalogue items scored at a time.
    """
    barycentre = keys[targets]  # [N, d]: sum_i y_i key_i
    if lam > 0:
        if soft is None:
            raise ValueError("lam > 0 needs soft targets")
        weights = lam * soft.weights[targets].to(keys.dtype)  # [N, k]
        near = F.embedding_bag(soft.neighbours[targets], keys, per_sample_weights=weights, mode="sum")  # [N, d]
        barycentre = (1 - weights.sum(dim=-1, keepdim=True)) * barycentre + near
    return (log_partition(queries, keys, chunk) - (queries * barycentre).sum(dim=-1)).mean()
