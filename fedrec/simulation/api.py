"""fedrec from Python: run a recipe, read a run, recommend. ``fedrec.run``, ``fedrec.load_run``, ``Run``."""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from fedrec.arrays import read_arrays
from fedrec.data.importers.frames import import_frame
from fedrec.errors import UserError
from fedrec.files import read_json_lines, reading
from fedrec.recipe import Recipe, load_recipe, override_recipe
from fedrec.runs.folder import RunFolder, dated
from fedrec.simulation.quick import quickened, tiny_markets
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from fedrec.simulation.run_page import write_page


class Run:
    """A finished run's folder."""

    def __init__(self, path: Path | str) -> None:
        self.folder = RunFolder.open(Path(path))
        self.summary: dict[str, Any] = self.folder.read_summary()

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @cached_property
    def recipe(self) -> Recipe:
        """As it was run, every ``auto`` resolved."""
        return load_recipe(str(self.path / "recipe.yaml"))

    @property
    def markets(self) -> list[str]:
        """Names, sorted."""
        return list(self.summary["markets"])

    def results(self) -> pl.DataFrame:
        """Every figure: columns market (``mean`` among them), method, metric, value."""
        found = {
            **{name: one["results"] for name, one in self.summary["markets"].items()},
            "mean": self.summary["mean"],
        }
        rows = [
            (market, method, metric, value)
            for market, methods in found.items()
            for method, metrics in methods.items()
            for metric, value in metrics.items()
        ]
        return pl.DataFrame(rows, schema=["market", "method", "metric", "value"], orient="row")

    def differences(self) -> pl.DataFrame:
        """Paired intervals: columns market, method, other, metric, mean, low, high (of method minus other)."""
        rows = [
            (market, method, other, metric, interval["mean"], interval["low"], interval["high"])
            for market, one in self.summary["markets"].items()
            for method, others in one["differences"].items()
            for other, metrics in others.items()
            for metric, interval in metrics.items()
        ]
        return pl.DataFrame(rows, schema=["market", "method", "other", "metric", "mean", "low", "high"], orient="row")

    def rounds(self) -> pl.DataFrame:
        """A line a round: stage, round, seconds, bytes_up, bytes_down, how many markets were accepted, validation."""
        rows = [
            {
                **{name: one[name] for name in ("stage", "round", "seconds", "bytes_up", "bytes_down")},
                "accepted": len(one["accepted"]),
                "validation_before": one["validation_before"],
                "drift": one["drift"],
            }
            for one in self.summary["rounds"]
        ]
        whole, numbers = ("round", "bytes_up", "bytes_down", "accepted"), ("seconds", "validation_before", "drift")
        types: dict[str, Any] = {
            "stage": pl.String,
            **dict.fromkeys(whole, pl.Int64),
            **dict.fromkeys(numbers, pl.Float64),
        }
        return pl.DataFrame(rows, schema_overrides=types, schema=list(types))

    def ledger(self) -> pl.DataFrame:
        """Everything that left a market: market, round, action, kind, name, shape, dtype, bytes, and what is known."""
        return pl.DataFrame(read_json_lines(self.folder.path / "ledger.jsonl"), infer_schema_length=None)

    def per_user(self, market: str) -> pl.DataFrame:
        """A line a test user of one market, a column a method and metric; from the market's own folder.

        ``users`` are their numbers among the market's users, sorted by id. Of click-through runs a line is an instance.
        """
        if market not in self.markets:
            raise UserError(f"market {market!r}: not in {self.path}; it has {', '.join(self.markets)}")
        path = self.folder.markets / market / "per_user.safetensors"
        with reading(path):
            arrays = read_arrays(path)
        return pl.DataFrame({name: arrays[name] for name in sorted(arrays, key=lambda name: (name != "users", name))})

    def events(self) -> list[dict[str, Any]]:
        """What happened, in order."""
        return read_json_lines(self.folder.events)

    def recommender(self, market: str) -> Recommender:
        """What one market would recommend with; needs the market's data on this machine."""
        return Recommender.open(self.path, market)

    def write_report(self) -> Path:
        """Write ``report.html`` and ``figures/``; the page's path."""
        return write_page(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, recipe {self.summary['recipe']!r}, seed {self.summary['seed']})"


def load_run(path: Path | str) -> Run:
    """A finished run; raises :class:`UserError` for a folder that holds none."""
    return Run(path)


def run(
    recipe: str | Path | Recipe = "fecosr",
    data: Any = None,
    out: Path | str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    warm_start: Path | str | None = None,
    quick: bool = False,
) -> Run:
    """Simulate a recipe on this machine, to the end.

    ``recipe``: a shipped one's name, a YAML file, or a :class:`Recipe`. ``data``: a data folder, or a frame with the
    columns user, item, time and market (:func:`fedrec.import_frame` takes others), which is written as a data folder
    beside ``out``, called as it is with ``-data`` behind. Without ``data``, five synthetic markets.
    Without ``out``, a new folder below ``runs/``. ``overrides``: ``{"loss.lam": 0}``, or as on the command line
    ``["loss.lam=0"]``. ``warm_start``: a finished run whose shared model this one begins with.
    ``quick``: two rounds of a small model, without ``data`` on three tiny markets, to see that something runs at all.

    Raises :class:`UserError` for what a user can get wrong, :class:`RunError` where the run fails.
    """
    changes = (
        [f"{key}={json.dumps(value)}" for key, value in overrides.items()]  # JSON is YAML
        if isinstance(overrides, Mapping)
        else list(overrides)
    )
    resolved = override_recipe(recipe, {}, changes) if isinstance(recipe, Recipe) else load_recipe(str(recipe), changes)
    if quick:
        resolved = quickened(resolved, changes)
    if resolved.engine.kind == "deploy":
        raise UserError("engine.kind deploy: markets on their own hosts are led by `fedrec run --engine deploy`")
    folder = Path(out) if out is not None else dated(f"{resolved.name}-{resolved.seed}")
    begin = None if warm_start is None else Path(warm_start)
    tiny = tiny_markets(resolved.seed) if quick else None
    made: Path | None = None
    if data is None or isinstance(data, Path | str):
        source = None if data is None else Path(data)
    else:
        source = folder.with_name(f"{folder.name}-data")
        import_frame(data, source)
        made = source
    try:
        simulation = prepare_simulation(resolved, source, folder, warm_start=begin, synthetic=tiny)
    except BaseException:
        if made is not None:  # nothing goes on with it
            shutil.rmtree(made, ignore_errors=True)
        raise
    simulation.start()
    write_page(folder)
    return Run(folder)
