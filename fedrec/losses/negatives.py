"""Items that a sampled loss compares a target with."""

import torch
from torch import Tensor


def uniform_negatives(targets: Tensor, items: int, count: int) -> Tensor:
    """``count`` items for each of ``targets`` [N], uniform over the ``items`` - 1 others, with replacement: [N, k]."""
    drawn = torch.randint(items - 1, (len(targets), count), device=targets.device)
    return drawn + (drawn >= targets[:, None]).long()


def scores_of(queries: Tensor, keys: Tensor, items: Tensor) -> Tensor:
    """Scores [N, k] of ``items`` [N, k] for ``queries`` [N, d]."""
    return torch.einsum("nd,nkd->nk", queries, keys[items])
