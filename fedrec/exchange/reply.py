"""The reply schema: what the server demands of a market's update before it may touch the average."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedrec.components.registry import components, find
from fedrec.exchange.declaration import DECLARATIONS, PRETRAIN
from fedrec.exchange.payload import Array, Payload

WEIGHT_CAP = 1e9
LARGEST = 1e12  # of any count, loss or duration
_METRIC = re.compile(r"([a-z0-9][a-z0-9_-]*)@\d+")
MAX_LOGLOSS = 20.0  # predictions are kept 1e-7 from zero and one


@dataclass(frozen=True)
class ReplySchema:
    """An update must match ``current`` in keys, shapes and types, be finite and near enough, and weigh in (0, cap]."""

    current: Mapping[str, Array]  # the shared parameters this round started from
    norm_bound: float  # largest L2 norm of the change
    statistics: frozenset[str] = frozenset()  # names of the statistics that come with it, checked elsewhere
    action: str = PRETRAIN  # what was asked: its declaration says which scalars and texts may come

    def reason_to_reject(self, payload: Payload) -> str | None:
        """Why the payload is refused, or None when it is in order."""
        expected_names, found = {*self.current, *self.statistics}, {*payload.arrays, *payload.statistics}
        missing, unknown = sorted(expected_names - found), sorted(found - expected_names)
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
        weight = payload.scalars.get("weight", math.nan)
        if not 0 < weight <= WEIGHT_CAP:
            return f"weight {weight} not in (0, {WEIGHT_CAP:g}]"
        return reason_to_distrust(payload, self.action)


def reason_to_distrust(payload: Payload, action: str) -> str | None:
    """Why the scalars and texts of an answer to ``action`` are refused: undeclared, or a value that cannot be."""
    refused = DECLARATIONS[action].undeclared_words(payload)
    if refused:
        return f"{refused[0]} is not declared"
    for name, value in sorted(payload.scalars.items()):
        low, high = _bounds(name)
        if not low <= value <= high:  # NaN lies nowhere
            return f"{name}: {value} is not in [{low:g}, {high:g}]"
    return None


def _bounds(name: str) -> tuple[float, float]:
    metric = _METRIC.search(name)
    if metric is not None:
        low, high = _of_metric(metric[1])
        return (low - high, high - low) if name.startswith("difference.") else (low, high)
    if name.startswith("difference."):
        largest = MAX_LOGLOSS if ".logloss." in name else 1.0
        return -largest, largest
    if name == "transfer_gap":
        return -LARGEST, LARGEST
    if name.endswith(".logloss"):
        return 0.0, MAX_LOGLOSS
    if name in {"validation", "outside"} or name.endswith((".auc", ".gauc", ".ece", ".explained")):
        return 0.0, 1.0
    return 0.0, LARGEST


def _of_metric(kind: str) -> tuple[float, float]:
    """Between which its values lie; of a metric that nobody knows, nowhere."""
    if kind not in components("metric"):
        return math.inf, -math.inf
    bounds: tuple[float, float] = find("metric", kind).bounds
    return bounds
