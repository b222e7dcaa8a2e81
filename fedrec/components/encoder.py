"""The noun ``encoder``: item vectors of a history in, one state per position out."""

from collections.abc import Sequence
from enum import Enum
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fedrec.components.section import ComponentSettings
from fedrec.models.dropout import MaskShape


class Capability(Enum):
    """What a component can be combined with; a recipe that needs what its component lacks is refused."""

    USER_PRIVACY = "user-level privacy"  # takes its dropout handed in, one user's apart from the others'


class EncoderSizes(NamedTuple):
    """What the model around an encoder decides."""

    dimension: int  # of vectors and states
    dropout: float  # in [0, 1)
    maximum_length: int  # positions of the longest history


class Encoder(nn.Module):
    """Base of encoders; built as ``EncoderClass(settings, sizes)``.

    A state may depend on its own and earlier positions alone: the target of a position is the item after it. All
    parameters are shared with the federation, so they must have the same names and shapes in every market.
    """

    Settings: ClassVar[type[ComponentSettings]]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    adapted: int = 0  # how many of its layers take a market's private adapter

    @property
    def mask_shape(self) -> MaskShape | None:
        """Of USER_PRIVACY with dropout: the shape of what ``forward`` takes for ``masks``."""
        return None

    @classmethod
    def objection(cls, settings: ComponentSettings, sizes: EncoderSizes) -> str | None:
        """What of the settings does not fit the model, with its remedy; None where all does."""
        return None

    def forward(self, x: Tensor, adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Map [B, L, d] of right-padded histories to states [B, L, d].

        ``adapters``: empty, or ``adapted`` residual modules [..., d] to [..., d], one for the output of a layer each.
        With USER_PRIVACY it also takes ``masks``, what dropout leaves, or None; then nothing else is dropped.
        """
        raise NotImplementedError
