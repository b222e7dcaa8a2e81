"""Sums of what came under masks: added as integers of the ring, opened all together, then read as numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.payload import STATISTICS, Array, Payload
from fedrec.exchange.reply import WEIGHT_CAP, reason_to_distrust
from fedrec.masking.ring import Format, Ring, format_of

Floats = NDArray[np.float64]
Reveal = Callable[[Mapping[str, Ring], Sequence[str]], dict[str, Ring]]  # totals, survivors -> without masks


@dataclass(frozen=True)
class MaskedRound:
    """How the answers of one round are to be summed.

    ``weights``: of those who take part, as they were told; ``largest``: of a change; ``noised``: whether pairs are.
    """

    weights: Mapping[str, float]
    largest: float
    noised: bool
    reveal: Reveal

    def reason_to_reject(self, payload: Payload, expected: Mapping[str, tuple[int, ...]], action: str) -> str | None:
        """Why what came is no masked answer; of the numbers nothing can be said. ``expected``: shapes by name."""
        found = payload.sent
        if set(found) != set(expected):
            return f"keys: {sorted(set(found) ^ set(expected))[:2]} missing or unknown"
        for name, shape in sorted(expected.items()):
            dtype = self._format(name).dtype
            if found[name].shape != shape or found[name].dtype != dtype:
                return f"{name}: {found[name].dtype} of shape {found[name].shape}, expected {dtype} {shape}"
        weight = payload.scalars.get("weight")
        if weight is not None and not 0 < weight <= WEIGHT_CAP:
            return f"weight {weight} not in (0, {WEIGHT_CAP:g}]"
        return reason_to_distrust(payload, action)

    def sums(self, payloads: Mapping[str, Payload]) -> dict[str, Floats]:
        """Of answers by market, each well formed, as numbers by name. Raises :class:`RunError` if it stays closed."""
        totals: dict[str, Ring] = {}
        for market in sorted(payloads):
            for name, array in payloads[market].sent.items():
                ring = np.asarray(array, self._format(name).dtype)
                totals[name] = totals[name] + ring if name in totals else ring
        opened = self.reveal(totals, sorted(payloads))
        return {name: self._format(name).decode(total) for name, total in opened.items()}

    def average(
        self, sums: Mapping[str, Floats], current: Mapping[str, Array], survivors: Sequence[str]
    ) -> dict[str, Array]:
        """The weighted average of the survivors' parameters, from the sum of their weighed changes."""
        total = sum(self.weights[market] for market in sorted(survivors))
        return {
            name: np.asarray(np.asarray(value, np.float64) + np.asarray(sums[name]) / total, value.dtype)
            for name, value in sorted(current.items())
        }

    def _format(self, name: str) -> Format:
        return format_of(name, len(self.weights), self.largest, self.noised)


def statistics_of(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """Those of the sums that are statistics, by their own names."""
    return {name.removeprefix(STATISTICS): value for name, value in sums.items() if name.startswith(STATISTICS)}
