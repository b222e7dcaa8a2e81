"""Sums of what came under masks: added as integers of the ring, and opened all together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedrec.exchange.payload import Payload
from fedrec.exchange.reply import WEIGHT_CAP, reason_to_distrust
from fedrec.masking.ring import Format, Ring, format_of

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
    kept: Callable[[Sequence[str]], list[str]] = sorted  # which of those who answered are summed

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

    def sums(self, payloads: Mapping[str, Payload]) -> dict[str, Ring]:
        """Of answers by market, each well formed, without masks. Raises :class:`RunError` if it stays closed."""
        totals: dict[str, Ring] = {}
        for market in sorted(payloads):
            for name, array in payloads[market].sent.items():
                ring = np.asarray(array, self._format(name).dtype)
                totals[name] = totals[name] + ring if name in totals else ring
        return self.reveal(totals, sorted(payloads))

    def total_weight(self, survivors: Sequence[str]) -> float:
        """Of those whose answers are summed."""
        return sum(self.weights[market] for market in sorted(survivors))

    def _format(self, name: str) -> Format:
        return format_of(name, len(self.weights), self.largest, self.noised)
