"""The noun ``encoder``: item vectors of a history in, one state per position out."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fedrec.components.capability import Capability
from fedrec.components.section import ComponentSettings
from fedrec.models.dropout import MaskShape


class EncoderSizes(NamedTuple):
    """What the model around an encoder decides."""

    dimension: int  # of vectors and states
    dropout: float  # in [0, 1)
    maximum_length: int  # positions of the longest history

    def objection_to(self, heads: int) -> str | None:
        """Every head of attention has a part of the dimension."""
        if self.dimension % heads:
            return f"model.dimension {self.dimension} is not a multiple of encoder.heads {heads}; change one"
        return None


class Encoder(nn.Module):
    """Base of encoders; built as ``EncoderClass(settings, sizes)``.

    A state may depend on its own and earlier positions alone: the target of a position is the item after it. One that
    is ``bidirectional`` looks both ways instead, and is trained on items that are hidden from it (Cloze). All
    parameters are shared with the federation, so they must have the same names and shapes in every market.
    """

    Settings: ClassVar[type[ComponentSettings]]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """USER_PRIVACY: dropout is handed in, and one user's states are a function of that user's history alone."""
    adapted: int = 0  # how many of its layers take a market's private adapter
    bidirectional: ClassVar[bool] = False
    """Then ``mask`` stands for a hidden item, :meth:`hide` says which are, and ``forward`` also takes ``valid`` [B, L],
    which places hold something: an item, or at the end of a history the mask that asks for the next one."""
    mask: Tensor  # [d], a parameter

    @property
    def mask_shape(self) -> MaskShape | None:
        """Of USER_PRIVACY with dropout: the shape of what ``forward`` takes for ``masks``."""
        return None

    @classmethod
    def objection(cls, settings: ComponentSettings, sizes: EncoderSizes) -> str | None:
        """What of the settings does not fit the model, with its remedy; None where all does."""
        return None

    def hide(self, valid: Tensor) -> Tensor:
        """Of a bidirectional one: which places of training histories are hidden and predicted, [B, L], of ``valid``.

        It draws from torch's generator.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Map [B, L, d] of right-padded histories to states [B, L, d].

        ``adapters``: empty, or ``adapted`` residual modules [..., d] to [..., d], one for the output of a layer each.
        With USER_PRIVACY it also takes ``masks``, what dropout leaves, or None; then nothing else is dropped.
        """
        raise NotImplementedError
