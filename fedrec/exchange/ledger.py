"""The egress ledger: one line per array, scalar and text that leaves a market."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedrec.components.stage import Place, Stage
from fedrec.errors import EgressError
from fedrec.exchange.declaration import DECLARATIONS
from fedrec.exchange.groups import ParameterGroups
from fedrec.exchange.payload import Array, Origin, Payload
from fedrec.files import append_json_lines

SCALAR_BYTES = 8


def ledger_entries(payload: Payload, origin: Origin) -> Iterator[dict[str, Any]]:
    """What the ledger says of a payload: names, shapes, types and sizes, never values."""
    common: dict[str, Any] = {"market": origin.market, "round": origin.round, "action": origin.action}
    if origin.part:
        common["part"] = origin.part
    for name, array in sorted(payload.sent.items()):
        entry = {"kind": "array", "name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        rows = _rows(array, payload.base.get(name))
        yield common | entry | {"bytes": array.nbytes} | rows | _provenance(payload, name)
    for name in sorted(payload.scalars):
        yield common | {
            "kind": "scalar",
            "name": name,
            "shape": [],
            "dtype": "float64",
            "bytes": SCALAR_BYTES,
            **_provenance(payload, name),
        }
    for name, text in sorted(payload.texts.items()):
        parts = [text] if isinstance(text, str) else list(text)
        size = sum(len(part.encode()) for part in parts)
        words = {"kind": "text", "name": name, "shape": [len(parts)], "dtype": "utf-8", "bytes": size}
        yield common | words | _provenance(payload, name)


class CountStage(Stage):
    """Checks a payload against the declaration, then writes it into the market's ledger. Comes last."""

    place = Place.COUNT

    def __init__(self, path: Path, groups: ParameterGroups) -> None:
        self.path = path
        self.groups = groups

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Refuse what is undeclared; record the rest before it is sent."""
        refused = DECLARATIONS[origin.action].undeclared(payload, self.groups)
        if refused:
            raise EgressError(f"{origin.action}: {refused[0]} is not declared to leave a market; nothing was sent")
        self.record(payload, origin)
        return payload

    def record(self, payload: Payload, origin: Origin) -> None:
        """Write the payload's lines without asking whether it may leave (error texts always may)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_json_lines(self.path, ledger_entries(payload, origin))


def _provenance(payload: Payload, name: str) -> dict[str, str]:
    """Under privacy: what it was made of."""
    provenance = payload.provenance_of(name)
    return {} if provenance is None else {"provenance": provenance.describe()}


def _rows(array: Array, base: Array | None) -> dict[str, int]:
    """For tables: how many rows differ from what the server sent (all of them where it sent nothing)."""
    if array.ndim != 2:
        return {}
    changed = len(array) if base is None else int(np.count_nonzero((array != base).any(axis=1)))
    return {"rows": len(array), "rows_changed": changed}
