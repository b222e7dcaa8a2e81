"""Server optimisers: the aggregate's change is a gradient for the server (Reddi et al., ICLR 2021).

``adam`` (FedAdam, with the bias correction that Flower adds) and ``yogi`` (FedYogi, without). ``none`` takes the
aggregate as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedrec.exchange.payload import Array, with_prefix
from fedrec.recipe import ServerOptimiserSettings

Moments = dict[str, Array]


@dataclass
class ServerOptimiser:
    """Moments of the pseudo-gradient, in float64. ``step`` is deterministic; ``state`` is all there is to save."""

    settings: ServerOptimiserSettings
    first: Moments = field(default_factory=dict)
    second: Moments = field(default_factory=dict)
    steps: int = 0

    def step(self, current: Mapping[str, Array], aggregate: Mapping[str, Array]) -> dict[str, Array]:
        """The next shared parameters."""
        settings = self.settings
        if settings.kind == "none":
            return dict(aggregate)
        self.steps += 1
        rate = settings.learning_rate
        if settings.kind == "adam":  # Flower counts rounds from one and corrects with round + 1
            rate *= np.sqrt(1 - settings.beta_2 ** (self.steps + 1)) / (1 - settings.beta_1 ** (self.steps + 1))
        result: dict[str, Array] = {}
        for name in sorted(current):
            start = np.asarray(current[name], np.float64)
            change = np.asarray(aggregate[name], np.float64) - start
            zero = np.zeros_like(start)
            first = np.asarray(self.first.get(name, zero), np.float64)
            first = settings.beta_1 * first + (1 - settings.beta_1) * change
            second = np.asarray(self.second.get(name, zero), np.float64)
            square = change**2
            toward = (second - square) if settings.kind == "adam" else np.sign(second - square) * square
            second = second - (1 - settings.beta_2) * toward
            self.first[name], self.second[name] = first, second
            moved = start + rate * first / (np.sqrt(second) + settings.tau)
            result[name] = np.asarray(moved, current[name].dtype)
        return result

    def state(self) -> dict[str, Array]:
        """Everything the next step depends on."""
        moments = {f"first.{name}": value for name, value in self.first.items()}
        moments |= {f"second.{name}": value for name, value in self.second.items()}
        return {**moments, "steps": np.array([self.steps])}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a saved :meth:`state`."""
        self.steps = int(state["steps"][0])
        self.first = with_prefix(state, "first.")
        self.second = with_prefix(state, "second.")
