"""Norm clipping: no market moves the shared parameters further than agreed in one round."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from pydantic import Field

from fedrec.components.section import ComponentSettings
from fedrec.components.stage import Place, UpdateStage
from fedrec.exchange.payload import Array, Origin, Payload


def change_norm(arrays: Mapping[str, Array], base: Mapping[str, Array]) -> float:
    """L2 norm of all changes together, in float64."""
    changes = (np.subtract(arrays[name], base[name], dtype=np.float64) for name in sorted(base))
    return math.sqrt(sum(float(np.vdot(change, change)) for change in changes))  # beyond all bounds: infinite


class ClipSettings(ComponentSettings):
    """Of stage clip."""

    kind: str = "clip"
    norm: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="largest L2 norm of a change")


class ClipStage(UpdateStage):
    """Scales a longer change down to ``norm``.

    The market clips before it sends; the server clips again, because it need not believe that a market did.
    """

    Settings = ClipSettings
    place = Place.CLIP
    codes = False

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Clip at the market."""
        return self._clipped(payload)

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Clip at the server. What is no update of this model is left as it is, for the reply schema to name."""
        fits = {name: array.shape for name, array in payload.arrays.items()} == {
            name: array.shape for name, array in payload.base.items()
        }
        numbers = all(np.issubdtype(array.dtype, np.floating) for array in payload.arrays.values())
        return self._clipped(payload) if fits and numbers else payload

    def _clipped(self, payload: Payload) -> Payload:
        base = payload.base
        norm = change_norm(payload.arrays, base) if base else 0.0
        if not norm > self.settings.norm or not math.isfinite(norm):
            return payload
        arrays: dict[str, Array] = {}
        for name, array in payload.arrays.items():
            start = np.asarray(base[name], np.float64)
            arrays[name] = (start + (self.settings.norm / norm) * (np.asarray(array, np.float64) - start)).astype(
                array.dtype
            )
        return replace(payload, arrays=arrays)
