"""Which markets take part in a round."""

import math

from fedrec.seeds import numpy_generator


def sample_markets(markets: list[str], participation: float, seed: int, server_round: int) -> list[str]:
    """A seeded sample of ceil(participation * M) markets, sorted; at least one.

    >>> sample_markets(["jp", "in", "de"], 1.0, 0, 1)
    ['de', 'in', 'jp']
    """
    count = max(1, math.ceil(participation * len(markets) - 1e-9))
    generator = numpy_generator(seed, "sampling", server_round)
    return sorted(generator.choice(sorted(markets), size=count, replace=False).tolist())
