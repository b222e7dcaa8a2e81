"""FedDyn (Acar et al., ICLR 2021): every market's loss is bent so that all of them have one optimum.

A market adds alpha / 2 |w - w_0|^2 - <g, w> to its loss and then moves g by -alpha (w - w_0); the server keeps h, the
mean of those moves, and goes on from the mean of the models minus h / alpha. Only parameters travel, as in FedAvg.

Deviations: markets train with the recipe's optimiser, not plain gradient descent; h moves by the weighted mean change
of the markets that answered, where the paper divides by all.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedrec.components.aggregator import Aggregator, Array, State, Update, weighted_average
from fedrec.components.section import ComponentSettings


class FedDynSettings(ComponentSettings):
    """Of aggregator.kind feddyn."""

    kind: str = "feddyn"
    alpha: float = Field(default=0.1, ge=1e-4, le=1e4, description="how firmly markets are held together")


class DynamicTerm:
    """The market's half; it remembers g by parameter."""

    def __init__(self, settings: FedDynSettings) -> None:
        self.alpha = settings.alpha

    def penalty(
        self, parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], memory: Mapping[str, Tensor]
    ) -> Tensor:
        """Alpha / 2 |w - w_0|^2 - <g, w>."""
        near = [(parameters[name] - value).square().sum() for name, value in sorted(start.items())]
        bent = [(parameters[name] * value).sum() for name, value in sorted(memory.items())]
        result = self.alpha / 2 * torch.stack(near).sum()
        return result - torch.stack(bent).sum() if bent else result

    def remember(
        self, parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], memory: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Alpha times the way that the round went is taken off g."""
        return {
            name: memory.get(name, torch.zeros_like(value)) - self.alpha * (parameters[name] - value)
            for name, value in sorted(start.items())
        }


class FedDyn(Aggregator):
    """The server's half; it remembers h by parameter."""

    Settings = FedDynSettings
    linear = True
    local = DynamicTerm

    def apply(
        self, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], State]:
        """The mean minus h / alpha."""
        mean, alpha = weighted_average(updates), self.settings.alpha
        result: dict[str, Array] = {}
        after: State = {}
        for name in sorted(current):
            start, reached = np.asarray(current[name], np.float64), np.asarray(mean[name], np.float64)
            correction = np.asarray(state.get(name, np.zeros_like(start)) - alpha * (reached - start))
            result[name] = np.asarray(reached - correction / alpha, current[name].dtype)
            after[name] = correction
        return result, after
