"""InfoNCE (van den Oord et al., 2018): a lower bound on what two views of the same things tell of each other."""

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean loss of telling row i of ``second`` from its other rows by row i of ``first``, and the other way round.

    Both [B, d]; rows are compared by cosine over ``temperature``. log B at chance, 0 at best.
    """
    scores = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature  # [B, B]
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
