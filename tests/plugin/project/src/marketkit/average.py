"""An encoder that is a moving average of the history."""

import torch
from pydantic import Field
from torch import Tensor, nn

from fedrec.components import ComponentSettings, Encoder, EncoderSizes


class AverageSettings(ComponentSettings):
    """Of encoder.kind average."""

    kind: str = "average"
    window: int = Field(default=5, ge=1, le=1000, description="items that count")


class Average(Encoder):
    """A linear map of the mean of the last items."""

    Settings = AverageSettings

    def __init__(self, settings: AverageSettings, sizes: EncoderSizes) -> None:
        super().__init__()
        self.window = settings.window
        self.map = nn.Linear(sizes.dimension, sizes.dimension)

    def forward(self, x: Tensor, adapters=()) -> Tensor:
        """Map [B, L, d] to [B, L, d]."""
        places = torch.arange(x.shape[1], device=x.device)
        back = places[:, None] - places  # [L, L] how far each item lies behind
        seen = ((back >= 0) & (back < self.window)).to(x.dtype)
        return self.map((seen / seen.sum(dim=1, keepdim=True)) @ x)
