"""How much each market counts in an average. Server and markets compute it alike, from public sizes."""

import math
from collections.abc import Mapping, Sequence


def relative_weights(kind: str, sizes: Sequence[float], most: float = 1.0) -> list[float]:
    """Weights that sum to one of markets of these ``sizes``: by size, all equal, or by the square root of the size.

    ``most``: the largest that one may have; what is cut off goes to the others in proportion. Where that is less than
    an equal share, all are equal.

    >>> relative_weights("square_root", [1, 9])
    [0.25, 0.75]
    >>> relative_weights("interactions", [1, 1, 1, 97], most=0.4)
    [0.2, 0.2, 0.2, 0.4]
    """
    raw = {
        "interactions": [float(count) for count in sizes],
        "uniform": [1.0 for _ in sizes],
        "square_root": [math.sqrt(count) for count in sizes],
    }[kind]
    total = math.fsum(raw)
    return capped([value / total for value in raw], most)


def weights_by_market(kind: str, sizes: Mapping[str, str | float], most: float) -> dict[str, float]:
    """:func:`relative_weights` of markets by name: what server and markets of a masked sum must compute alike."""
    markets = sorted(sizes)
    return dict(zip(markets, relative_weights(kind, [float(sizes[name]) for name in markets], most), strict=True))


def capped(weights: list[float], most: float) -> list[float]:
    """Weights that sum to one, none above ``most``: what is cut off goes to the others in proportion.

    Where ``most`` is less than an equal share, all are equal.
    """
    if most >= 1:
        return weights
    if most * len(weights) <= 1:
        return [1 / len(weights)] * len(weights)
    full: set[int] = set()  # places of those who have all that one may have
    while True:
        rest = math.fsum(weight for place, weight in enumerate(weights) if place not in full)
        scale = (1 - most * len(full)) / rest
        over = {place for place, weight in enumerate(weights) if place not in full and weight * scale > most}
        if not over:
            break
        full |= over
    return [most if place in full else weight * scale for place, weight in enumerate(weights)]


_STEEPEST = 30.0


def transfer_weight(gap: float, temperature: float) -> float:
    """How far a market goes with a model that is ``gap`` nats worse for it than what it learned alone: 0 to 2.

    Twice the logistic function of -gap / temperature: 1 where both are alike, more where the federation helps.

    >>> transfer_weight(0.0, 0.2), round(transfer_weight(0.2, 0.2), 3), round(transfer_weight(-0.2, 0.2), 3)
    (1.0, 0.538, 1.462)
    """
    return 1.0 - math.tanh(min(max(gap / temperature, -_STEEPEST), _STEEPEST) / 2)  # never zero: a mean needs a weight
