"""Item-set inference: what an upload tells of the items a market deals in most, and which rows of a table it touched.

Compared with what anyone can guess: the items that sell best in the other markets.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.exchange.payload import Array
from fedrec.models.sequential import SequentialModel

_PROBES = 256
_BEST = 0.1
Floats = NDArray[np.float64]


def best_sellers(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the items [I] are the tenth that sells most here; those that sell as often as the last belong too."""
    wanted = max(1, int(_BEST * len(counts)))
    least = max(np.sort(counts)[-wanted], 1)
    return np.asarray(counts >= least)


def rows_moved(before: Array, after: Array) -> Floats:
    """How far each row of a table [N, d] moved, [N]: an untouched row has not moved at all."""
    return np.asarray(np.linalg.norm(np.asarray(after, np.float64) - np.asarray(before, np.float64), axis=1))


@torch.inference_mode()
def preference(model: SequentialModel, generator: np.random.Generator) -> Floats:
    """Mean log-probability of each item as the next one, [I], after short histories drawn at random."""
    model.eval()
    catalogue = model.catalogue()
    drawn = torch.from_numpy(generator.integers(len(model.semantics), size=(_PROBES, 2)))
    states = model.next_states(catalogue, drawn, torch.full((len(drawn),), 2))  # [P, d]
    scores = model.queries(states) @ catalogue.keys.T  # [P, I]
    found: Floats = scores.log_softmax(dim=-1).mean(dim=0).double().numpy()
    return found


def load(model: SequentialModel, arrays: Mapping[str, Array]) -> SequentialModel:
    """The model with the shared parameters of an observed one."""
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, strict=False)
    return model
