"""Reconstruction of one user's items from a gradient made of that user alone.

A linear map's gradient is a sum of outer products with its inputs, so inputs lie in the space its rows span (as used
against text by Petrov et al., "DAGER", NeurIPS 2024). Here the inputs of the encoder's first map are item vectors at
their positions, and those of the adaptor's linear map are the items' semantic vectors: an item is as suspicious as
its vector, normalised, is long in the leading directions of the gradient.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.encoders.transformer import Transformer
from fedrec.models.sequential import SequentialModel

_FIRST = "encoder.blocks.0.projection.weight"
_POSITION = "encoder.position.weight"
_LINEAR = "adaptor.linear.weight"
_VISIBLE = 0.1  # of the longest row of the positions' gradient
Floats = NDArray[np.float64]


@torch.inference_mode()
def item_scores(model: SequentialModel, gradient: Mapping[str, Tensor]) -> Floats:
    """How suspicious each item is, [I], by the gradient of one user's loss (of any scale, noised or not)."""
    scores = torch.zeros(len(model.semantics), dtype=torch.float64)
    if _LINEAR in gradient:
        scores += _standard(_explained(gradient[_LINEAR].double(), model.semantics.double(), None))
    encoder = model.encoder
    if isinstance(encoder, Transformer) and _FIRST in gradient and _POSITION in gradient:
        rows = gradient[_POSITION].double().norm(dim=1)  # [P]
        length = int((rows > _VISIBLE * rows.max()).sum())
        model.eval()
        vectors = model.catalogue().vectors  # [I, d]
        norm = encoder.blocks[0].get_submodule("attention_norm")
        positions = encoder.position.weight[: max(length, 1)]  # [n, d]
        best = torch.full((len(vectors),), -torch.inf, dtype=torch.float64)
        for position in positions:
            inputs = norm(vectors + position).double()  # [I, d]
            best = torch.maximum(best, _explained(gradient[_FIRST].double(), inputs, length))
        scores += _standard(best)
    return scores.numpy()


def _explained(gradient: Tensor, inputs: Tensor, rank: int | None) -> Tensor:
    """How much of each input [I, e], as a direction, the gradient's rows [o, e] account for, [I].

    With ``rank`` by the leading directions alone, all alike; without, by all of them as they weigh.
    """
    directions = F.normalize(inputs, dim=-1)
    if rank is None:
        seen = gradient
    else:
        rows: Tensor = torch.linalg.svd(gradient, full_matrices=False)[2]  # [min(o, e), e]
        seen = rows[: max(1, min(rank, len(rows) // 2))]
    found: Tensor = torch.linalg.vector_norm(directions @ seen.T, dim=1)
    return found


def _standard(values: Tensor) -> Tensor:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)
