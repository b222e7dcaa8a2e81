"""NextItNet's encoder: causal convolutions whose dilation doubles (Yuan et al., WSDM 2019).

Residual blocks of two dilated convolutions each, the second twice as wide open as the first, with layer normalisation
before each (theirs comes after) and dropout, which theirs has not.
"""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.components.encoder import Encoder, EncoderSizes
from fedrec.components.section import ComponentSettings


class NextItNetSettings(ComponentSettings):
    """Of encoder.kind nextitnet."""

    kind: str = "nextitnet"
    layers: int = Field(default=2, ge=1, le=32, description="residual blocks of two convolutions")
    width: int = Field(default=3, ge=2, le=64, description="of a convolution, in positions")
    dilations: list[int] = Field(default=[1, 4], min_length=1, max_length=32, description="of the blocks, repeated")


class CausalConvolution(nn.Module):
    """A convolution over positions that sees none after its own."""

    def __init__(self, dimension: int, width: int, dilation: int) -> None:
        super().__init__()
        self.before = (width - 1) * dilation  # positions that the first one would need before it
        self.convolution = nn.Conv1d(dimension, dimension, width, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, d] to [B, L, d]."""
        padded = F.pad(x.transpose(1, 2), (self.before, 0))  # [B, d, before + L]
        result: Tensor = self.convolution(padded).transpose(1, 2)
        return result


class Block(nn.Module):
    """Two convolutions, the second of twice the dilation, added to what came."""

    def __init__(self, dimension: int, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dimension) for _ in range(2))
        self.convolutions = nn.ModuleList(CausalConvolution(dimension, width, dilation * factor) for factor in (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, d] to [B, L, d]."""
        inner = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            inner = convolution(F.relu(norm(inner)))
        return x + F.dropout(inner, self.dropout, self.training)


class NextItNet(Encoder):
    """States of stacked residual blocks."""

    Settings = NextItNetSettings

    def __init__(self, settings: NextItNetSettings, sizes: EncoderSizes) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.adapted = settings.layers
        dilations = [settings.dilations[index % len(settings.dilations)] for index in range(settings.layers)]
        self.blocks = nn.ModuleList(
            Block(sizes.dimension, settings.width, dilation, sizes.dropout) for dilation in dilations
        )
        self.norm = nn.LayerNorm(sizes.dimension)

    @classmethod
    def objection(cls, settings: ComponentSettings, sizes: EncoderSizes) -> str | None:
        """Dilations are positions."""
        assert isinstance(settings, NextItNetSettings)  # noqa: S101
        wrong = [dilation for dilation in settings.dilations if not 1 <= dilation <= sizes.maximum_length]
        if wrong:
            return f"encoder.dilations {wrong[0]}: from 1 to model.maximum_length {sizes.maximum_length}; change it"
        return None

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Map [B, L, d] to [B, L, d]."""
        x = F.dropout(x, self.dropout, self.training)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if adapters:
                x = adapters[index](x)
        result: Tensor = self.norm(x)
        return result
