"""The run folder: everything a run leaves behind, each file written whole or line by line."""

import fcntl
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.errors import UserError
from fedrec.exchange.payload import Array
from fedrec.files import JsonLines, append_json_line, read_json, refuse_occupied, write_atomic, write_json
from fedrec.recipe import Recipe
from fedrec.runs import forms
from fedrec.runs.journal import Journal
from fedrec.runs.manifest import SCHEMA
from fedrec.runs.summary import SCHEMA as SUMMARY_SCHEMA
from fedrec.strict_yaml import dump_yaml

_KEPT = 2  # checkpoints
_STATE = "state"  # whose hash stands beside those of the array files


@dataclass(frozen=True)
class Checkpoint:
    """The server's state after a round: groups of arrays by name, and the rest as JSON."""

    round: int
    arrays: dict[str, dict[str, Array]]
    state: dict[str, Any]
    stage: str = "pretrain"  # which of the run's rounds these are


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

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run; raises :class:`UserError` for a folder that is none."""
        for name in ("recipe.yaml", "manifest.json"):
            if not (path / name).is_file():
                raise UserError(f"{path}: not a run folder (no {name}); name one that `fedrec run` made")
        return cls(path)

    @property
    def markets(self) -> Path:
        """One folder a market: its private state and its own ledger."""
        return self.path / "markets"

    @property
    def keys(self) -> Path:
        """Public node keys of the markets, where sums are masked."""
        return self.path / "keys"

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
    def shared(self) -> Path:
        """The shared model, for whoever wants to use it elsewhere (see ``fedrec.runs.shared``)."""
        return self.path / "shared"

    @property
    def warm_start(self) -> Path:
        """A copy of the shared model that the run begins with; none where it begins untrained."""
        return self.path / "warm-start"

    @property
    def codebook(self) -> Path:
        """The common codebooks and their encoder, in the same form."""
        return self.shared / "codebook"

    def part(self, name: str) -> "RunFolder":
        """A part of the run, with a journal, checkpoints and a shared model of its own."""
        return PartFolder(self.path / name)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_atomic(self.path / "recipe.yaml", dump_yaml(recipe.model_dump(mode="json")).encode())

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the run is made of."""
        write_json(self.path / "manifest.json", manifest)

    def read_manifest(self) -> dict[str, Any]:
        """What the run is made of; raises :class:`UserError` for a run of another version's form."""
        path = self.path / "manifest.json"
        manifest = read_json(path)
        if manifest.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: schema {manifest.get('schema')!r} is not {SCHEMA}; use the version that made the run"
            )
        forms.check_form(forms.Manifest, manifest, str(path))
        return manifest

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event, stamped with the seconds since 1970."""
        append_json_line(self.events, {"event": kind, "time": time.time(), **fields})

    def write_journal(self, journal: Journal) -> None:
        """Write what is finished."""
        write_json(self.path / "journal.json", journal.to_json())

    def read_journal(self) -> Journal:
        """What is finished; nothing in a new run."""
        path = self.path / "journal.json"
        if not path.is_file():
            return Journal()
        value = read_json(path)
        forms.check_form(forms.Journal, value, str(path))
        return Journal.from_json(value)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoints/STAGE/round-NNNNNN``: a safetensors file a group, then ``state.json`` with hashes."""
        root = self.path / "checkpoints" / checkpoint.stage
        target = root / f"round-{checkpoint.round:06d}"
        files = {name: save_arrays(_contiguous(arrays)) for name, arrays in checkpoint.arrays.items()}
        for name, data in files.items():
            write_atomic(target / f"{name}.safetensors", data)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        content = {"round": checkpoint.round, "state": dict(checkpoint.state)}
        # Last: its presence says that the rest is complete.
        write_json(target / "state.json", {**content, "sha256": {**hashes, _STATE: _digest(content)}})
        entries = sorted(root.glob("round-*"))
        current = entries.index(target)
        for old in [*entries[: max(0, current + 1 - _KEPT)], *entries[current + 1 :]]:  # later ones are done again
            shutil.rmtree(old)

    def last_checkpoint(self, stage: str = "pretrain") -> Checkpoint | None:
        """A stage's latest checkpoint that is whole; one that was being written, or fails its hashes, is passed."""
        for entry in sorted(self.path.glob(f"checkpoints/{stage}/round-*"), reverse=True):
            try:
                description = read_json(entry / "state.json")
                hashes = dict(description.pop("sha256"))
                if hashes.pop(_STATE) != _digest(description):
                    continue
                files = {name: (entry / f"{name}.safetensors").read_bytes() for name in hashes}
            except (OSError, UserError, KeyError, TypeError, ValueError):
                continue
            if all(hashlib.sha256(data).hexdigest() == hashes[name] for name, data in files.items()):
                arrays = {name: load_arrays(data) for name, data in files.items()}
                return Checkpoint(description["round"], arrays, description["state"], stage)
        return None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; refuses NaN and infinities."""
        write_json(self.summary, summary)

    def read_summary(self) -> dict[str, Any]:
        """The figures of a finished run; raises :class:`UserError` for one that is not finished."""
        if not self.summary.is_file():
            raise UserError(
                f"{self.path}: not finished (no summary.json); go on with `fedrec run --resume {self.path}`"
            )
        summary = read_json(self.summary)
        if summary.get("schema") != SUMMARY_SCHEMA:
            raise UserError(
                f"{self.summary}: schema {summary.get('schema')!r} is not {SUMMARY_SCHEMA}, figures of other schemas "
                "mean something else; run again"
            )
        forms.check_form(forms.Summary, summary, str(self.summary))
        return summary

    def gather_ledgers(self) -> list[str]:
        """Copy the markets' ledgers into one ``ledger.jsonl``, market by market (where they lie on this machine).

        Returns what is missing in it: lines that cannot be read. One is torn where a market was stopped as it wrote.
        """
        lines: list[str] = []
        missing: list[str] = []
        for path in sorted(self.markets.glob("*/ledger.jsonl")):
            ledger = JsonLines(path)
            lines += [json.dumps(entry) for entry in ledger.read()]
            if ledger.unreadable:
                missing.append(f"{path}: {ledger.unreadable} lines cannot be read; what they recorded is missing here")
        gathered = self.path / "ledger.jsonl"
        before = len(JsonLines(gathered).read())
        if before > len(lines):  # the markets' own are gone, or damaged: what was gathered stays
            return [*missing, f"{gathered}: kept as it was gathered; the markets' own ledgers hold less"]
        write_atomic(gathered, "".join(f"{line}\n" for line in lines).encode())
        return missing

    @contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the run: nobody else may go on with it meanwhile. The lock dies with the process.

        Raises :class:`UserError` where another process has held it for ``patience`` seconds.
        """
        until = time.monotonic() + patience
        with (self.path / ".lock").open("w") as stream:
            while not _lock(stream):
                if time.monotonic() >= until:
                    raise UserError(f"{self.path}: another process is running it; wait for it or stop it")
                time.sleep(0.1)
            yield


def dated(name: str) -> Path:
    """Where a run goes that was given no folder: ``runs/<time>-<name>``, later ones of one second numbered."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for each in names if not (path := Path("runs") / each).exists())


class PartFolder(RunFolder):
    """A folder within that of a run: what happens in it is told among the run's events."""

    @property
    def events(self) -> Path:
        """Those of the run."""
        return self.path.parent / "events.jsonl"

    @property
    def shared(self) -> Path:
        """Within that of the run, so that who copies the one has the other."""
        return self.path.parent / "shared" / self.path.name

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event, named as the part's."""
        super().event(kind, part=self.path.name, **fields)


def _lock(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _contiguous(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}
