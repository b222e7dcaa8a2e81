"""Client drift: how far the markets' updates of one round point in different directions."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedrec.exchange.payload import Array


def mean_pairwise_cosine(current: Mapping[str, Array], updates: Sequence[Mapping[str, Array]]) -> float | None:
    """Mean cosine between every two markets' changes, in [-1, 1]; 1 is no drift. None for fewer than two changes, or
    nothing to change.

    A market that did not move at all is left out: it has no direction.
    """
    if not current:
        return None
    changes = [
        np.concatenate(
            [np.ravel(np.subtract(update[name], current[name], dtype=np.float64)) for name in sorted(current)]
        )
        for update in updates
    ]
    units = [change / norm for change in changes if (norm := np.linalg.norm(change)) > 0]
    if len(units) < 2:
        return None
    # The squared norm of the sum holds every pair twice and every unit vector with itself once.
    total = np.sum(units, axis=0)
    pairs = len(units) * (len(units) - 1)
    return float(np.clip((total @ total - len(units)) / pairs, -1.0, 1.0))
