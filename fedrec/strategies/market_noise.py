"""Differential privacy of whole markets, by a server that is trusted (McMahan et al., ICLR 2018, markets for users).

Every market takes part in a round on a coin of its own; its change is clipped; the sum gets Gaussian noise on every
number and is divided by the expected, not the actual, number of markets. All count alike: a weight by size would let
one market move the sum further than the clipping norm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedrec.exchange.payload import Array
from fedrec.privacy.noise import SecretNoise, digest
from fedrec.privacy.release import Release


@dataclass(frozen=True)
class MarketNoise:
    """Sampling and noise of one run. ``markets``: how many there are, which everybody may know."""

    clip_norm: float
    release: Release  # of one round
    markets: int
    noise: SecretNoise

    def sample(self, markets: Sequence[str], server_round: int) -> list[str]:
        """Who takes part, sorted; perhaps nobody."""
        drawn = self.noise.uniform(len(markets), "markets", server_round)
        return [name for name, chance in zip(sorted(markets), drawn, strict=True) if chance < self.release.sampling]

    def average(
        self, updates: Sequence[Mapping[str, Array]], current: Mapping[str, Array], server_round: int
    ) -> dict[str, Array]:
        """The next parameters from those that ``updates`` of the round came to; with none of them, noise alone."""
        total = {name: np.zeros(np.shape(value)) for name, value in sorted(current.items())}
        for update in updates:
            change = {name: np.asarray(update[name], np.float64) - np.asarray(current[name]) for name in total}
            norm = math.sqrt(sum(float(np.vdot(part, part)) for part in change.values()))
            scale = min(1.0, self.clip_norm / norm) if norm else 1.0
            for name, part in change.items():
                total[name] += scale * part
        # Asked again with other answers, as in a resumed run, the noise is another: two sums under one would differ by
        # what a market sent.
        purpose = digest(total)
        deviation = self.clip_norm * self.release.noise_multiplier
        expected = self.release.sampling * self.markets
        result: dict[str, Array] = {}
        for name, value in total.items():
            drawn = self.noise.gaussian(value.shape, "aggregate", server_round, purpose, name)
            start = np.asarray(current[name], np.float64)
            result[name] = np.asarray(start + (value + deviation * drawn) / expected, current[name].dtype)
        return result
