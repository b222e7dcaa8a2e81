"""Compression of updates: a market sends a coarse form of its change, and remembers what it left out.

Error feedback (Karimireddy et al., ICML 2019): what one round leaves out is added to the next round's change, so that
nothing is lost, only late. The remainder is private state and stays in the market.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedrec.components.section import ComponentSettings
from fedrec.components.stage import Memory, Place, UpdateStage
from fedrec.exchange.clipping import change_norm
from fedrec.exchange.payload import Array, Origin, Payload

SCALE, INDEX, VALUE = "#scale", "#index", "#value"
_LEVELS = 127
_LARGEST_SCALE = np.finfo(np.float32).max / _LEVELS


class Codec(ABC):
    """A coarse form of some float arrays, and the way back."""

    @abstractmethod
    def encode(self, change: Mapping[str, Array]) -> dict[str, Array]:
        """What travels."""

    @abstractmethod
    def decode(self, sent: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays shaped as ``like``; raises ``ValueError`` in words for anything else."""


class Int8(Codec):
    """Eight bits a number: x / scale rounded, scale = max|x| / 127 for each array. A quarter of float32's bytes."""

    def encode(self, change: Mapping[str, Array]) -> dict[str, Array]:
        """Codes under the array's own name, the scale beside them."""
        sent: dict[str, Array] = {}
        for name, raw in change.items():
            array = np.asarray(raw, np.float32)
            scale = np.float32(np.abs(array).max(initial=0.0) / _LEVELS)
            codes = np.rint(array / scale) if scale > 0 else np.zeros(array.shape)
            sent[name] = np.clip(codes, -_LEVELS, _LEVELS).astype(np.int8)
            sent[name + SCALE] = np.array([scale], np.float32)
        return sent

    def decode(self, sent: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
        """Codes times scale."""
        _require_names(sent, [name + suffix for name in like for suffix in ("", SCALE)])
        result: dict[str, Array] = {}
        for name, array in like.items():
            codes, scale = sent[name], sent[name + SCALE]
            _require(codes.dtype == np.int8 and codes.shape == array.shape, name, "int8 codes of the array's shape")
            _require(scale.dtype == np.float32 and scale.shape == (1,), name, "one float32 scale")
            _require(bool(0 <= scale[0] <= _LARGEST_SCALE), name, "a finite scale")
            result[name] = codes.astype(np.float32) * scale[0]
        return result


@dataclass(frozen=True)
class TopK(Codec):
    """The ``share`` of numbers with the largest magnitude over all arrays; ties: the earlier. The rest is zero."""

    share: float

    def encode(self, change: Mapping[str, Array]) -> dict[str, Array]:
        """Flat positions and values, array by array."""
        names = sorted(change)
        flat = np.concatenate([np.ravel(change[name]) for name in names])
        count = max(1, math.ceil(self.share * len(flat) - 1e-9))
        kept = np.sort(np.argsort(-np.abs(flat), kind="stable")[:count])
        sent: dict[str, Array] = {}
        start = 0
        for name in names:
            own = kept[(kept >= start) & (kept < start + change[name].size)]
            sent[name + INDEX] = (own - start).astype(np.int32)
            sent[name + VALUE] = flat[own].astype(np.float32)
            start += change[name].size
        return sent

    def decode(self, sent: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
        """Values at their positions, zero elsewhere."""
        _require_names(sent, [name + suffix for name in like for suffix in (INDEX, VALUE)])
        result: dict[str, Array] = {}
        for name, array in like.items():
            positions, value = sent[name + INDEX], sent[name + VALUE]
            _require(positions.dtype == np.int32 and value.dtype == np.float32, name, "int32 positions, float32 values")
            index = np.asarray(positions, np.int64)
            _require(index.ndim == 1 and index.shape == value.shape, name, "as many values as positions")
            _require(bool((index[1:] > index[:-1]).all()), name, "ascending positions")
            inside = not len(index) or bool(index.min() >= 0 and index.max() < array.size)
            _require(inside, name, "positions inside the array")
            full = np.zeros(array.size, np.float32)
            full[index] = value
            result[name] = full.reshape(array.shape)
        return result


class CompressionSettings(ComponentSettings):
    """Keys of stages that code a change."""

    error_feedback: bool = Field(default=True, description="what compression left out is added to the next round")
    limit: float | None = Field(
        default=None, gt=0, description="longest change that is sent, where the server clips; the rest waits"
    )


class CompressStage(UpdateStage):
    """Sends a coded change instead of parameters; with error feedback what is left out waits in the market's memory."""

    place = Place.COMPRESS

    def __init__(self, settings: Any, memory: Memory | None = None) -> None:
        super().__init__(settings, memory if settings.error_feedback else None)
        self.codec = self.make_codec()

    def make_codec(self) -> Codec:
        """As the settings want it."""
        raise NotImplementedError

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Code the change; remember the rest."""
        base = payload.base
        if not base:
            return payload
        before = self.memory.load(origin.round) if self.memory else {}
        change = {
            name: _float(payload.arrays[name]) - _float(base[name]) + _float(before.get(name, np.float32(0)))
            for name in sorted(base)
        }
        sent = self.codec.encode(self._limited(change))
        if self.memory:
            decoded = self.codec.decode(sent, base)
            self.memory.save(origin.round, {name: change[name] - _float(decoded[name]) for name in change})
        # A coded table's unchanged rows are zero: that is what the ledger compares with.
        zeros = {name: np.zeros_like(array) for name, array in sent.items() if name in base}
        return replace(payload, arrays=sent, base=zeros)

    def _limited(self, change: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        norm = change_norm(change, {name: np.zeros_like(array) for name, array in change.items()})
        if self.settings.limit is None or not norm > self.settings.limit:
            return change
        return {name: array * np.float32(self.settings.limit / norm) for name, array in change.items()}

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Parameters again."""
        if not payload.base:
            return payload
        change = self.codec.decode(payload.arrays, payload.base)
        arrays = {name: _float(payload.base[name]) + _float(change[name]) for name in sorted(change)}
        return replace(payload, arrays=arrays)


class Int8Settings(CompressionSettings):
    """Of stage int8."""

    kind: str = "int8"


class Int8Stage(CompressStage):
    """Eight bits a number."""

    Settings = Int8Settings

    def make_codec(self) -> Int8:
        """It has no keys."""
        return Int8()


class TopKSettings(CompressionSettings):
    """Of stage top-k."""

    kind: str = "top-k"
    share: float = Field(default=0.05, gt=0, le=1, description="share of the numbers that are sent")


class TopKStage(CompressStage):
    """The largest numbers alone."""

    Settings = TopKSettings

    def make_codec(self) -> TopK:
        """Of the settings' share."""
        return TopK(self.settings.share)


def _float(array: object) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)


def _require_names(sent: Mapping[str, Array], names: list[str]) -> None:
    if set(sent) != set(names):
        missing, unknown = sorted(set(names) - set(sent)), sorted(set(sent) - set(names))
        raise ValueError(f"keys: missing {missing[:2]}, unknown {unknown[:2]}")


def _require(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {what}")
