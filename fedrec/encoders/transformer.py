"""The shared sequence encoder: a causal transformer in today's SASRec practice.

Kang & McAuley (ICDM 2018) with pre-norm blocks, fused causal attention and right padding: a valid position attends
only to earlier positions, all of them valid, so no padding mask is needed.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.components.capability import Capability
from fedrec.components.encoder import Encoder, EncoderSizes
from fedrec.components.section import ComponentSettings
from fedrec.models.dropout import BlockMasks, EncoderMasks, MaskShape


class CausalBlock(nn.Module):
    """Pre-norm self-attention and feed-forward, both residual."""

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(dimension)
        self.projection = nn.Linear(dimension, 3 * dimension)
        self.output = nn.Linear(dimension, dimension)
        self.feed_forward_norm = nn.LayerNorm(dimension)
        self.expand = nn.Linear(dimension, 4 * dimension)
        self.contract = nn.Linear(4 * dimension, dimension)

    def forward(self, x: Tensor, masks: BlockMasks | None = None) -> Tensor:
        """Map [B, L, d] to [B, L, d]; position l sees positions up to l. ``masks``: in place of dropout."""
        attention, attended, hidden_mask, contracted = masks or (None,) * 4
        x = x + self._drop(self._attend(self.attention_norm(x), attention), attended)
        hidden = F.gelu(self.expand(self.feed_forward_norm(x)))  # [B, L, 4d]
        return x + self._drop(self.contract(self._drop(hidden, hidden_mask)), contracted)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, dimension = x.shape
        projected = self.projection(x).view(batch, length, 3, self.heads, dimension // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, heads, L, d / heads]
        if mask is None:
            attended = F.scaled_dot_product_attention(
                query, key, value, is_causal=True, dropout_p=self.dropout if self.training else 0.0
            )
        else:
            later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)  # [L, L]
            scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # [B, heads, L, L]
            attended = (scores.masked_fill(later, -torch.inf).softmax(dim=-1) * mask) @ value
        result: Tensor = self.output(attended.transpose(1, 2).reshape(batch, length, dimension))
        return result

    def _drop(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if mask is None else x * mask


class TransformerSettings(ComponentSettings):
    """Of encoder.kind transformer."""

    kind: str = "transformer"
    layers: int = Field(default=2, ge=1, le=32, description="blocks of attention and feed-forward")
    heads: int = Field(default=2, ge=1, le=32, description="of attention; model.dimension is a multiple")


class Transformer(Encoder):
    """Item vectors of a history to one state per position."""

    Settings = TransformerSettings
    capabilities = frozenset({Capability.USER_PRIVACY})

    def __init__(self, settings: TransformerSettings, sizes: EncoderSizes) -> None:
        super().__init__()
        dimension, dropout = sizes.dimension, sizes.dropout
        self.dropout = dropout
        self.heads = settings.heads
        self.adapted = settings.layers
        self.position = nn.Embedding(sizes.maximum_length, dimension)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(CausalBlock(dimension, settings.heads, dropout) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(dimension)

    @classmethod
    def objection(cls, settings: ComponentSettings, sizes: EncoderSizes) -> str | None:
        """Every head has a part of the dimension."""
        assert isinstance(settings, TransformerSettings)  # noqa: S101
        return sizes.objection_to(settings.heads)

    @property
    def mask_shape(self) -> MaskShape:
        """What :meth:`forward` takes for masks."""
        length, dimension = self.position.weight.shape
        return MaskShape(length, dimension, self.heads, len(self.blocks), self.dropout)

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = (), masks: EncoderMasks | None = None) -> Tensor:
        """Map [B, L, d] to [B, L, d].

        ``adapters``, one a block, are a market's private residual modules. ``masks`` are taken in place of dropout.
        """
        x = x + self.position(torch.arange(x.shape[1], device=x.device))  # [B, L, d] + [L, d]
        x = F.dropout(x, self.dropout, self.training) if masks is None else x * masks.inputs
        for index, block in enumerate(self.blocks):
            x = block(x, None if masks is None else masks.blocks[index])
            if adapters:
                x = adapters[index](x)
        result: Tensor = self.norm(x)
        return result
