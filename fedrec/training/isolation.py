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

_TOLERANCE = 1e-4  # of the largest number of all gradients, which clipping never raises; other shapes round otherwise

_MOVES = "moves with who else is there, which noise does not cover; take another, or turn privacy off"


def require_isolation(model: SequentialModel, loss: Loss, names: str) -> None:
    """Raise :class:`RunError` where a user's gradient depends on who else is there, or on how often one has asked.

    ``names``: what is tried. Made-up users with histories of two items, of as many as the model reads, and of lengths
    between must have the same gradient and the same last state alone, with nothing after their history, as among all,
    in either order. Tried is the model's own encoder, which scores, and not a copy of it, which trains.
    """
    lengths = np.unique(np.linspace(2, model.maximum_length + 1, 6).round().astype(int))
    histories = np.arange(len(lengths) * lengths[-1]).reshape(len(lengths), -1) % len(model.semantics)
    training = model.training
    model.eval()
    try:
        whole = _gradients(model, histories, lengths, loss)
        backwards = _gradients(model, histories[::-1], lengths[::-1], loss)
        scale = max(float(value.abs().max()) for value in whole.values())
        for user in range(len(lengths)):
            own = slice(user, user + 1)
            alone = _gradients(model, histories[own, : lengths[user]], lengths[own], loss)
            for name, value in alone.items():
                among = (whole[name][user], backwards[name][-1 - user])
                if not all(float((other - value[0]).abs().max()) <= _TOLERANCE * scale for other in among):
                    raise RunError(f"{names}: the gradient of {name} for one user {_MOVES}")
        _require_states(model, histories, lengths, names)
    finally:
        model.train(training)


@torch.no_grad()
def _require_states(model: SequentialModel, histories: np.ndarray, lengths: np.ndarray, names: str) -> None:
    """Without vmap, which shows a component one user at a time whatever it does with several."""
    device, catalogue = model.semantics.device, model.catalogue()

    def states(rows: slice) -> torch.Tensor:
        longest = int(lengths[rows].max()) - 1  # the last item of a history is what is asked for
        items, known = torch.from_numpy(histories[rows, :longest]), torch.from_numpy(lengths[rows] - 1)
        return model.next_states(catalogue, items.to(device), known.to(device))

    whole = states(slice(None))
    scale = max(float(whole.abs().max()), 1e-12)
    for user in range(len(lengths)):
        if not float((states(slice(user, user + 1))[0] - whole[user]).abs().max()) <= _TOLERANCE * scale:
            raise RunError(f"{names}: the state after one user's history {_MOVES}")


def _gradients(
    model: SequentialModel, histories: np.ndarray, lengths: np.ndarray, loss: Loss
) -> dict[str, torch.Tensor]:
    longest = lengths.max()
    items = np.where(np.arange(longest) < lengths[:, None], histories[:, :longest], 0)  # [U, L]
    return per_user_gradients(model, Batch(items, lengths.copy()), loss, encoder=model.encoder)
