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


_STEEPEST = 30.0


def transfer_weight(gap: float, temperature: float) -> float:
    """How far a market goes with a model that is ``gap`` nats worse for it than what it learned alone: 0 to 2.

    Twice the logistic function of -gap / temperature: 1 where both are alike, more where the federation helps.

    >>> transfer_weight(0.0, 0.2), round(transfer_weight(0.2, 0.2), 3), round(transfer_weight(-0.2, 0.2), 3)
    (1.0, 0.538, 1.462)
    """
    return 1.0 - math.tanh(min(max(gap / temperature, -_STEEPEST), _STEEPEST) / 2)  # never zero: a mean needs a weight
