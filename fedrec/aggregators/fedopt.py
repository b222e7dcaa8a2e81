"""Server optimisers: the mean's change is a gradient for the server.

FedAdam, FedYogi and FedAdagrad: Reddi et al., ICLR 2021, FedAdam with the bias correction that Flower adds. FedAvgM:
Hsu et al., 2019. Moments are kept in float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedrec.components.aggregator import Aggregator, Array, State, Update, weighted_average
from fedrec.components.section import ComponentSettings

Floats = NDArray[np.float64]
_FIRST, _SECOND, _STEPS = "first.", "second.", "steps"


class FedAvgMSettings(ComponentSettings):
    """Of aggregator.kind fedavgm."""

    kind: str = "fedavgm"
    learning_rate: float = Field(default=1.0, gt=0, description="of the server")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="0 with learning_rate 1 is mean")


class FedAvgM(Aggregator):
    """Momentum: v = momentum v + change, and a step of learning_rate v."""

    Settings = FedAvgMSettings
    linear = True

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """Remembers the velocity."""
        result: dict[str, Array] = {}
        after: State = {}
        for name, start, change in _changes(current, updates):
            velocity = self.settings.momentum * state.get(_FIRST + name, 0.0) + change
            result[name] = np.asarray(start + self.settings.learning_rate * velocity, current[name].dtype)
            after[_FIRST + name] = np.asarray(velocity)
        return result, after


class AdaptiveSettings(ComponentSettings):
    """Keys of adaptive server optimisers."""

    learning_rate: float = Field(default=0.01, gt=0, description="of the server")
    tau: float = Field(default=1e-3, gt=0, description="adaptivity: larger is closer to plain momentum")


class FedAdamSettings(AdaptiveSettings):
    """Of aggregator.kind fedadam."""

    kind: str = "fedadam"
    beta_1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean change")
    beta_2: float = Field(default=0.99, ge=0, lt=1, description="decay of the squared change")


class FedYogiSettings(FedAdamSettings):
    """Of aggregator.kind fedyogi."""

    kind: str = "fedyogi"


class FedAdagradSettings(AdaptiveSettings):
    """Of aggregator.kind fedadagrad."""

    kind: str = "fedadagrad"


class _Adaptive(Aggregator):
    """m of changes, v of their squares, and a step of rate m / (sqrt v + tau)."""

    linear = True

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """Remembers both moments and the count of steps."""
        steps = int(state[_STEPS][0]) + 1 if state else 1
        result: dict[str, Array] = {}
        after: State = {_STEPS: np.array([steps])}
        for name, start, change in _changes(current, updates):
            zero = np.zeros_like(start)
            first = self._first(np.asarray(state.get(_FIRST + name, zero), np.float64), change)
            second = self._second(np.asarray(state.get(_SECOND + name, zero), np.float64), change**2)
            moved = start + self._rate(steps) * first / (np.sqrt(second) + self.settings.tau)
            result[name] = np.asarray(moved, current[name].dtype)
            after[_FIRST + name], after[_SECOND + name] = first, second
        return result, after

    def _rate(self, steps: int) -> float:
        return float(self.settings.learning_rate)

    def _first(self, first: Floats, change: Floats) -> Floats:
        beta = self.settings.beta_1
        return np.asarray(beta * first + (1 - beta) * change)

    def _second(self, second: Floats, square: Floats) -> Floats:
        raise NotImplementedError


class FedAdam(_Adaptive):
    """v is a moving mean of squares; the rate is corrected for the moments' start at zero."""

    Settings = FedAdamSettings

    def _rate(self, steps: int) -> float:
        settings: Any = self.settings  # Flower counts rounds from one and corrects with round + 1
        correction = np.sqrt(1 - settings.beta_2 ** (steps + 1)) / (1 - settings.beta_1 ** (steps + 1))
        return float(settings.learning_rate * correction)

    def _second(self, second: Floats, square: Floats) -> Floats:
        return np.asarray(second - (1 - self.settings.beta_2) * (second - square))


class FedYogi(_Adaptive):
    """v moves towards the squares by a share of the square, whatever their distance."""

    Settings = FedYogiSettings

    def _second(self, second: Floats, square: Floats) -> Floats:
        return np.asarray(second - (1 - self.settings.beta_2) * np.sign(second - square) * square)


class FedAdagrad(_Adaptive):
    """v is the sum of all squares; no momentum, as in the paper's experiments."""

    Settings = FedAdagradSettings

    def _first(self, first: Floats, change: Floats) -> Floats:
        return change

    def _second(self, second: Floats, square: Floats) -> Floats:
        return np.asarray(second + square)


def _changes(current: Mapping[str, Array], updates: Sequence[Update]) -> Iterator[tuple[str, Floats, Floats]]:
    """By name, where the server stands and how far the mean is from it."""
    mean = weighted_average(updates)
    for name in sorted(current):
        start = np.asarray(current[name], np.float64)
        yield name, start, np.asarray(np.asarray(mean[name], np.float64) - start)
