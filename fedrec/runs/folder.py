"""The run folder: everything a run leaves behind, each file written whole or line by line."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save as save_arrays

from fedrec.files import append_json_line, read_json_lines, refuse_occupied, write_atomic, write_json
from fedrec.recipe import Recipe


@dataclass
class RunFolder:
    """A run's folder. Whoever wants to watch a run follows ``events.jsonl``, whatever engine writes it."""

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> "RunFolder":
        """Start a run; an existing folder that is not empty is refused."""
        refuse_occupied(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.write_recipe(recipe)
        return folder

    @property
    def markets(self) -> Path:
        """One folder a market: its private state and its own ledger."""
        return self.path / "markets"

    @property
    def data(self) -> Path:
        """Synthetic markets made for this run alone."""
        return self.path / "data"

    @property
    def events(self) -> Path:
        """What happened, line by line."""
        return self.path / "events.jsonl"

    @property
    def summary(self) -> Path:
        """The figures of a finished run."""
        return self.path / "summary.json"

    @property
    def shared_model(self) -> Path:
        """The shared parameters that stage two started from."""
        return self.path / "shared.safetensors"

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        write_atomic(self.path / "recipe.yaml", text.encode())

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the run is made of."""
        write_json(self.path / "manifest.json", manifest)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event, stamped with the seconds since 1970."""
        append_json_line(self.events, {"event": kind, "time": time.time(), **fields})

    def checkpoint(self, server_round: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Write ``checkpoints/round-NNNNNN`` (shared parameters, then state) and keep the last two."""
        root = self.path / "checkpoints"
        target = root / f"round-{server_round:06d}"
        write_atomic(target / "shared.safetensors", save_arrays(_contiguous(arrays)))
        write_json(target / "state.json", {"round": server_round, **state})  # last: its presence says complete
        for old in sorted(root.glob("round-*"))[:-2]:
            shutil.rmtree(old)

    def write_shared_model(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the shared parameters of the best round."""
        write_atomic(self.shared_model, save_arrays(_contiguous(arrays)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; refuses NaN and infinities."""
        write_json(self.summary, summary)

    def read_summary(self) -> dict[str, Any]:
        """The figures of a finished run."""
        summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary

    def gather_ledgers(self) -> None:
        """Copy the markets' ledgers into one ``ledger.jsonl``, market by market (where they lie on this machine)."""
        for path in sorted(self.markets.glob("*/ledger.jsonl")):
            for entry in read_json_lines(path):
                append_json_line(self.path / "ledger.jsonl", entry)


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
