"""Whether one user's gradient stands alone: tried on histories that nobody has, before noise is trusted to hide it.

Noise covers a user's own clipped gradient. Where a component lets one history move another's gradient (a counter,
chance of its own, a mean over who is there), one user more moves everybody's, and no clipping bounds that.
"""

import numpy as np
import torch

from fedrec.components.loss import Loss
from fedrec.data.batches import Batch
from fedrec.errors import RunError
from fedrec.models.sequential import SequentialModel
from fedrec.training.private import per_user_gradients

_USERS, _LENGTH = 6, 5
_TOLERANCE = 1e-4  # of the largest number: sums of another shape round otherwise


def require_isolation(model: SequentialModel, loss: Loss, names: str) -> None:
    """Raise :class:`RunError` where a user's gradient depends on who else is there, or on how often one has asked.

    ``names``: what is tried. Six made-up users alone, all together, and in the reverse order must give the same.
    """
    items = np.arange(_USERS * _LENGTH).reshape(_USERS, _LENGTH) % len(model.semantics)
    training = model.training
    model.eval()
    try:
        whole = _gradients(model, items, loss)
        backwards = _gradients(model, items[::-1], loss)
        for user in range(_USERS):
            alone = _gradients(model, items[user : user + 1], loss)
            for name, value in alone.items():
                among = (whole[name][user], backwards[name][_USERS - 1 - user])
                scale = float(value.abs().max())
                if not all(float((other - value[0]).abs().max()) <= _TOLERANCE * scale for other in among):
                    raise RunError(
                        f"{names}: the gradient of {name} for one user moves with who else is there, which "
                        "noise does not cover; take another, or turn privacy off"
                    )
    finally:
        model.train(training)


def _gradients(model: SequentialModel, items: np.ndarray, loss: Loss) -> dict[str, torch.Tensor]:
    batch = Batch(np.ascontiguousarray(items), np.full(len(items), items.shape[1]))
    return per_user_gradients(model, batch, loss)
