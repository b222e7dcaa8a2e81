"""Which markets take part in a round."""

import math
from collections.abc import Collection

from fedrec.seeds import numpy_generator


def sample_markets(markets: list[str], participation: float, seed: int, server_round: int) -> list[str]:
    """A seeded sample of ceil(participation * M) markets, sorted; at least one.

    >>> sample_markets(["jp", "in", "de"], 1.0, 0, 1)
    ['de', 'in', 'jp']
    """
    count = max(1, math.ceil(participation * len(markets) - 1e-9))
    generator = numpy_generator(seed, "sampling", server_round)
    return sorted(generator.choice(sorted(markets), size=count, replace=False).tolist())


def validating_markets(markets: Collection[str], count: int | None, seed: int) -> list[str]:
    """The markets that validate the shared model, the same in every round, sorted: ``count`` of them, or all.

    >>> validating_markets(["jp", "in", "de"], None, 0)
    ['de', 'in', 'jp']
    """
    if count is None or count >= len(markets):
        return sorted(markets)
    generator = numpy_generator(seed, "validators")
    return sorted(generator.choice(sorted(markets), size=count, replace=False).tolist())


def rounds_sampled(markets: list[str], participation: float, seed: int, rounds: int) -> dict[str, int]:
    """How often each market is sampled in ``rounds`` rounds: the budget of a local baseline."""
    counts = dict.fromkeys(markets, 0)
    for server_round in range(1, rounds + 1):
        for market in sample_markets(markets, participation, seed, server_round):
            counts[market] += 1
    return counts
