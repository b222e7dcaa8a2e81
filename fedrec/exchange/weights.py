"""How much each market counts in an average. Server and markets compute it alike, from public sizes."""

import math
from collections.abc import Sequence


def relative_weights(kind: str, sizes: Sequence[float]) -> list[float]:
    """Weights that sum to one of markets of these ``sizes``: by size, all equal, or by the square root of the size.

    >>> relative_weights("square_root", [1, 9])
    [0.25, 0.75]
    """
    raw = {
        "interactions": [float(count) for count in sizes],
        "uniform": [1.0 for _ in sizes],
        "square_root": [math.sqrt(count) for count in sizes],
    }[kind]
    total = math.fsum(raw)
    return [value / total for value in raw]
