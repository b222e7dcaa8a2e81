"""The shared semantic adaptor g: a frozen item vector to the model's own space."""

import torch
from torch import Tensor, nn


class SemanticAdaptor(nn.Module):
    """Two-layer perceptron beside a linear map; ``semantic_dimension`` e to ``dimension`` d."""

    def __init__(self, semantic_dimension: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(semantic_dimension, dimension)
        self.hidden = nn.Linear(semantic_dimension, 2 * dimension)
        self.output = nn.Linear(2 * dimension, dimension)
        self.norm = nn.LayerNorm(dimension)

    def forward(self, semantics: Tensor) -> Tensor:
        """Map [I, e] to [I, d]."""
        # Unit rows have entries of about 1/sqrt(e); restore unit variance for the usual initialisation.
        scaled = semantics * semantics.shape[-1] ** 0.5
        hidden = torch.nn.functional.gelu(self.hidden(scaled))  # [I, e] -> [I, 2d]
        result: Tensor = self.norm(self.linear(scaled) + self.output(hidden))  # [I, d]
        return result
