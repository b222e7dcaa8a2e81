"""GRU4Rec's encoder: a gated recurrent network over the history (Hidasi et al., ICLR 2016).

Theirs ranks with a pairwise loss over sessions; here only the network is taken, under the recipe's own loss. Layer
normalisation of the output is ours, as in the other encoders, because scores are cosines.
"""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.components.encoder import Encoder, EncoderSizes
from fedrec.components.section import ComponentSettings


class GRU4RecSettings(ComponentSettings):
    """Of encoder.kind gru4rec."""

    kind: str = "gru4rec"
    layers: int = Field(default=1, ge=1, le=32, description="stacked recurrent layers")


class GRU4Rec(Encoder):
    """States of stacked gated recurrent units, each as wide as the model."""

    Settings = GRU4RecSettings

    def __init__(self, settings: GRU4RecSettings, sizes: EncoderSizes) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.adapted = settings.layers
        width = sizes.dimension
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Map [B, L, d] to [B, L, d]; padding on the right reaches no earlier state."""
        x = F.dropout(x, self.dropout, self.training)
        for index, layer in enumerate(self.layers):
            x, _ = layer(x)  # [B, L, d]
            x = F.dropout(x, self.dropout, self.training)
            if adapters:
                x = adapters[index](x)
        result: Tensor = self.norm(x)
        return result
