"""Whether an encoder of somebody else's keeps what nothing else would show: shape, no look ahead, no padding.

Training would run, validation would be wonderful, and the model worthless: the target of a position is the next item.
"""

import torch

from fedrec.components.encoder import Encoder
from fedrec.errors import RunError

_LENGTH = 6
_TOLERANCE = 1e-4  # of the largest state


@torch.no_grad()
def require_reading(encoder: Encoder, name: str, width: int, maximum_length: int) -> None:
    """Raise :class:`RunError` where states have another shape than items, or move with what they must not see.

    That is what comes later, and of a bidirectional encoder what is padding.
    """
    training, device = encoder.training, next(encoder.parameters(), torch.zeros(0)).device
    length = min(_LENGTH, maximum_length)
    history = torch.linspace(-3, 3, length * width, device=device).view(1, length, width).sin().repeat(2, 1, 1)
    history[1, -1] += 1  # [2, L, d]: the same but for the last item
    encoder.eval()
    try:
        if encoder.bidirectional:
            _require_hiding(encoder, name, width, length, device)
            valid = torch.ones(2, length, dtype=torch.bool, device=device)
            valid[:, -1] = length == 1
            states = encoder(history, valid=valid)
        else:
            states = encoder(history)
    finally:
        encoder.train(training)
    if states.shape != history.shape:
        raise RunError(
            f"encoder {name!r}: states of shape {tuple(states.shape)} for items of shape {tuple(history.shape)}; "
            "return one state for every item, as wide as it"
        )
    moved = float((states[0] - states[1])[:-1].abs().max()) if length > 1 else 0.0
    if not moved <= _TOLERANCE * max(float(states.abs().max()), 1.0):
        if encoder.bidirectional:
            raise RunError(f"encoder {name!r}: a state moves with padding; let it read the places of valid alone")
        raise RunError(
            f"encoder {name!r}: a state moves with an item that comes later, which is what it has to predict; "
            "let it depend on its own and earlier positions alone"
        )


def _require_hiding(encoder: Encoder, name: str, width: int, length: int, device: torch.device) -> None:
    """Its mask is as wide as an item, and some of the places that hold an item are hidden, and no others."""
    mask = getattr(encoder, "mask", None)
    if not isinstance(mask, torch.Tensor) or mask.shape != (width,):
        raise RunError(f"encoder {name!r}: bidirectional, and its mask is no parameter of {width} numbers")
    valid = torch.arange(length, device=device) < torch.tensor([[1], [length]], device=device)
    hidden = encoder.hide(valid)
    if hidden.shape != valid.shape or (hidden & ~valid).any() or not hidden.any(dim=1).all():
        raise RunError(f"encoder {name!r}: hide(valid) has to choose places of valid, one at least of every history")
