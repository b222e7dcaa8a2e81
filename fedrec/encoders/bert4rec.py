"""BERT4Rec's encoder: bidirectional attention over a history with some items hidden (Sun et al., CIKM 2019).

Post-norm blocks and learned positions, as theirs. Deviations: items are those of the model around it, so a hidden one
is a vector beside the catalogue and not a row of an item table; the output has no layer of its own; and in place of a
copy of every history with only its last item hidden, a share of them has that in every epoch.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from fedrec.components.encoder import Encoder, EncoderSizes
from fedrec.components.section import ComponentSettings
from fedrec.models.pointwise.attention import BidirectionalBlock, dropout


class BERT4RecSettings(ComponentSettings):
    """Of encoder.kind bert4rec."""

    kind: str = "bert4rec"
    layers: int = Field(default=2, ge=1, le=32, description="blocks of attention and feed-forward")
    heads: int = Field(default=2, ge=1, le=32, description="of attention; model.dimension is a multiple")
    hidden: float = Field(default=0.2, gt=0, lt=1, description="share of a history's items that are hidden in training")
    last: float = Field(default=0.1, ge=0, le=1, description="share of the histories of which only the last is hidden")


class BERT4Rec(Encoder):
    """States that look both ways."""

    Settings = BERT4RecSettings
    bidirectional = True

    def __init__(self, settings: BERT4RecSettings, sizes: EncoderSizes) -> None:
        super().__init__()
        dimension = sizes.dimension
        self.hidden, self.last, self.dropout = settings.hidden, settings.last, sizes.dropout
        self.adapted = settings.layers
        self.mask = nn.Parameter(0.02 * torch.randn(dimension))
        self.position = nn.Embedding(sizes.maximum_length + 1, dimension)  # a history, and the mask after it
        nn.init.normal_(self.position.weight, std=0.02)
        self.norm = nn.LayerNorm(dimension)
        self.blocks = nn.ModuleList(
            BidirectionalBlock(dimension, settings.heads, sizes.dropout) for _ in range(settings.layers)
        )

    @classmethod
    def objection(cls, settings: ComponentSettings, sizes: EncoderSizes) -> str | None:
        """Every head has a part of the dimension."""
        assert isinstance(settings, BERT4RecSettings)  # noqa: S101
        return sizes.objection_to(settings.heads)

    def hide(self, valid: Tensor) -> Tensor:
        """At least one place of every history."""
        drawn = torch.rand(valid.shape, device=valid.device).masked_fill(~valid, 2.0)  # [B, L]
        some = (drawn < self.hidden) | (drawn == drawn.min(dim=1, keepdim=True).values)
        last = torch.zeros_like(valid)
        last[torch.arange(len(valid), device=valid.device), valid.sum(dim=1) - 1] = True
        alone = torch.rand(len(valid), 1, device=valid.device) < self.last
        return torch.where(alone, last, some) & valid

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = (), valid: Tensor | None = None) -> Tensor:
        """Map [B, L, d] to [B, L, d]; places that are not ``valid`` [B, L] are read by nobody."""
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
        x = x + self.position.weight[: x.shape[1]]
        x = dropout(self.norm(x), self.dropout, self.training)
        for index, block in enumerate(self.blocks):
            x = block(x, valid)
            if adapters:
                x = adapters[index](x)
        return x
