"""The reply schema: what the server demands of a market's update before it may touch the average."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedrec.exchange.payload import Array, Payload

WEIGHT_CAP = 1e9


@dataclass(frozen=True)
class ReplySchema:
    """An update must match ``current`` in keys, shapes and types, be finite and near enough, and weigh in (0, cap]."""

    current: Mapping[str, Array]  # the shared parameters this round started from
    norm_bound: float  # largest L2 norm of the change

    def reason_to_reject(self, payload: Payload) -> str | None:
        """Why the payload is refused, or None when it is in order."""
        missing = sorted(set(self.current) - set(payload.arrays))
        unknown = sorted(set(payload.arrays) - set(self.current))
        if missing or unknown:
            return f"keys: missing {missing[:2]}, unknown {unknown[:2]}"
        square = 0.0
        for name in sorted(self.current):
            expected, array = self.current[name], payload.arrays[name]
            if array.shape != expected.shape:
                return f"{name}: shape {array.shape}, expected {expected.shape}"
            if array.dtype != expected.dtype:
                return f"{name}: dtype {array.dtype}, expected {expected.dtype}"
            change = np.asarray(array, dtype=np.float64) - np.asarray(expected, dtype=np.float64)
            square += float(np.vdot(change, change))
            if not math.isfinite(square):
                return f"{name}: not finite"
        if math.sqrt(square) > self.norm_bound:
            return f"norm of the change {math.sqrt(square):.3g} above the bound {self.norm_bound:.3g}"
        weight = payload.scalars.get("interactions", math.nan)
        if not 0 < weight <= WEIGHT_CAP:
            return f"weight {weight} not in (0, {WEIGHT_CAP:g}]"
        not_finite = [name for name, value in sorted(payload.scalars.items()) if not math.isfinite(value)]
        return f"{not_finite[0]}: not finite" if not_finite else None
