"""Several runs side by side: the same recipe under other seeds is one entry, and entries are compared pairwise.

A market's users are the same in all runs, so differences are paired per user, after averaging over the seeds that two
entries have in common; the mean over markets is paired per market. P-values of one comparison are adjusted together.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.arrays import read_arrays
from fedrec.errors import UserError
from fedrec.files import reading
from fedrec.metrics.ctr import ADDITIVE, Predictions
from fedrec.metrics.significance import holm, paired_t
from fedrec.recipe import load_recipe
from fedrec.report.words import best, headline_method, headline_metric, lower_is_better
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import leaves
from fedrec.runs.seal import check_sealed

MEAN = "mean"
_IGNORED = ("seed", "engine.", "training.device")  # beginnings of keys that do not make a recipe another one
_NOT_JUDGING = ("evaluation.methods", "evaluation.resamples")  # keys of evaluation that change no figure of a method
_CLICKS = ("ctr.task", "ctr.negatives", "ctr.positive")  # keys that decide what is a click, and what is not
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FinishedRun:
    """A run that can be compared."""

    path: Path
    summary: Mapping[str, Any]
    recipe: Mapping[str, Any]
    hashes: Mapping[str, str]

    @property
    def seed(self) -> int:
        """The seed of its random choices."""
        return int(self.summary["seed"])

    def per_user(self, market: str, method: str, metric: str) -> dict[int, float] | None:
        """A metric of each test user of a market; None where this machine does not hold it.

        Click-through metrics are of instances: there it is what each user adds to them.
        """
        path = RunFolder(self.path).markets / market / "per_user.safetensors"
        if not path.is_file():
            return None
        check_sealed(path)
        arrays = read_arrays(path)
        with reading(path):
            if f"{method}.{metric}" in arrays:
                return dict(zip(arrays["users"].tolist(), arrays[f"{method}.{metric}"].tolist(), strict=True))
            if f"{method}.predicted" in arrays and metric in ADDITIVE:
                predictions = Predictions(arrays["users"], arrays["labels"], arrays[f"{method}.predicted"])
                return predictions.contributions(metric)
        return None


@dataclass(frozen=True)
class Entry:
    """One recipe and method, under one seed or several."""

    label: str
    method: str
    runs: Mapping[int, FinishedRun]  # by seed
    shared: Sequence[str]  # markets that every run of the comparison has a figure of: means are over these

    def value(self, market: str, metric: str, seed: int) -> float | None:
        """A market's figure, or the mean over markets."""
        if market == MEAN:
            return fmean(self.value(name, metric, seed) or 0.0 for name in self.shared)
        figure = _figure(self.runs[seed], market, self.method, metric)
        return None if figure is None else float(figure)

    def values(self, market: str, metric: str) -> list[float]:
        """Those of all seeds."""
        found = (self.value(market, metric, seed) for seed in sorted(self.runs))
        return [figure for figure in found if figure is not None]

    def average(self, market: str, metric: str) -> float | None:
        """Mean over seeds."""
        values = self.values(market, metric)
        return fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over seeds of the mean over markets; None of a single seed."""
        values = self.values(MEAN, metric)
        return stdev(values) if len(values) > 1 else None

    def cost(self, name: str) -> float:
        """Mean over seeds of ``megabytes``, ``seconds`` or ``rounds``."""
        summaries = [run.summary for run in self.runs.values()]
        if name == "megabytes":
            return fmean(summary["bytes"]["up"] / 1e6 for summary in summaries)
        return fmean(len(one["rounds"]) if name == "rounds" else one["seconds"]["total"] for one in summaries)

    @property
    def epsilon(self) -> float | None:
        """Of the run that protects least; None where nothing was noised."""
        found = [run.summary["privacy"]["epsilon"] for run in self.runs.values()]
        return None if None in found else max(found)


@dataclass(frozen=True)
class Difference:
    """``first`` minus ``second`` in one market, or in the mean over markets."""

    first: str
    second: str
    market: str
    mean: float
    count: int  # users, or markets for the mean; 0 where nothing could be paired
    p: float  # nan where it cannot be told
    adjusted: float = math.nan

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below .05."""
        return self.adjusted < 0.05


@dataclass(frozen=True)
class Comparison:
    """Entries, best first, under one metric."""

    metric: str
    entries: Sequence[Entry]
    differing: Mapping[str, Sequence[str]]  # recipe key: value of each entry

    @property
    def markets(self) -> list[str]:
        """Of all runs."""
        return sorted(
            {name for entry in self.entries for run in entry.runs.values() for name in run.summary["markets"]}
        )

    @property
    def shared(self) -> list[str]:
        """Those that every run has a figure of."""
        return list(self.entries[0].shared)

    @cached_property
    def differences(self) -> list[Difference]:
        """Each entry against each that is below it; per market, then the mean."""
        found = [
            _difference(first, second, market, self.metric)
            for first, second in combinations(self.entries, 2)
            for market in [*self.markets, MEAN]
        ]
        adjusted = holm([one.p for one in found])
        return [
            Difference(one.first, one.second, one.market, one.mean, one.count, one.p, value)
            for one, value in zip(found, adjusted, strict=True)
            if one.count
        ]


def compare(paths: Sequence[Path], metric: str | None = None, method: str | None = None) -> Comparison:
    """Raises :class:`UserError` for runs that are unfinished, or cannot be compared."""
    runs = [_read(path) for path in paths]
    _require_comparable(runs)
    metric = metric or headline_metric(runs[0].summary)
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.recipe, sort_keys=True), []).append(run)
    keys = {key: group[0].recipe for key, group in groups.items()}
    differing = sorted(
        {name for one in keys.values() for name in one if len({repr(other.get(name)) for other in keys.values()}) > 1}
    )
    chosen = {key: method or _method(group[0], metric) for key, group in groups.items()}
    shared = _shared(groups, chosen, metric)
    entries = []
    for key, group in groups.items():
        seeds = [run.seed for run in group]
        if len(set(seeds)) < len(seeds):
            double = next(run.path for run in group if seeds.count(run.seed) > 1)
            raise UserError(f"{double}: another run given has the same recipe and seed; leave one of them out")
        label = _label(keys[key], differing, list(keys.values()))
        entries.append((key, Entry(label, chosen[key], {run.seed: run for run in group}, shared)))
    sign = 1 if lower_is_better(metric) else -1
    entries.sort(key=lambda one: sign * (one[1].average(MEAN, metric) or 0.0))
    values = {name: [_plain(keys[key].get(name)) for key, _ in entries] for name in differing if name != "name"}
    return Comparison(metric, [entry for _, entry in entries], values)


def _read(path: Path) -> FinishedRun:
    run = RunFolder.open(path)
    summary, manifest = run.read_summary(), run.read_manifest()
    if not summary["mean"]:
        raise UserError(f"{path}: no figures of users left its markets, nothing to compare")
    resolved = load_recipe(str(path / "recipe.yaml")).model_dump(mode="json")
    recipe = {key: value for key, value in leaves(resolved) if not key.startswith(_IGNORED)}
    return FinishedRun(path, summary, recipe, manifest["data"]["hashes"])


def _require_comparable(runs: Sequence[FinishedRun]) -> None:
    """Refuse other data or other questions: their figures measure other things."""
    if len(runs) < 2:
        raise UserError("compare: name two runs or more")
    first = runs[0]
    for run in runs[1:]:
        for market in sorted(set(first.hashes) & set(run.hashes)):
            if first.hashes[market] != run.hashes[market]:
                raise UserError(
                    f"{run.path}: market {market!r} holds other data than in {first.path}; compare like with like"
                )
        if not set(first.summary["markets"]) & set(run.summary["markets"]):
            raise UserError(f"{run.path}: has no market in common with {first.path}")
        judging = ("evaluation.", *(_CLICKS if first.summary["protocol"] == "ctr" else ()))
        for key in sorted(key for key in first.recipe if key.startswith(judging) and key not in _NOT_JUDGING):
            was, now = first.recipe[key], run.recipe.get(key)
            if was != now:
                raise UserError(f"{run.path}: {key} is {now!r}, in {first.path} it is {was!r}; compare like with like")


def _figure(run: FinishedRun, market: str, method: str, metric: str) -> float | None:
    results = run.summary["markets"].get(market, {}).get("results", {})
    return None if metric not in results.get(method, {}) else float(results[method][metric])


def _shared(groups: Mapping[str, Sequence[FinishedRun]], methods: Mapping[str, str], metric: str) -> list[str]:
    """Markets of which every run has the figure. Raises :class:`UserError` where there is none."""
    found: set[str] | None = None
    for key, group in groups.items():
        for run in group:
            own = {name for name in run.summary["markets"] if _figure(run, name, methods[key], metric) is not None}
            if not own:
                raise UserError(f"{run.path}: has no {metric} of method {methods[key]}; choose --metric and --method")
            found = own if found is None else found & own
    if not found:
        raise UserError(f"compare: no market has {metric} in all of these runs")
    return sorted(found)


def _method(run: FinishedRun, metric: str) -> str:
    """The run's headline, or else its best method."""
    figures = {name: metrics[metric] for name, metrics in run.summary["mean"].items() if metric in metrics}
    headline = headline_method(run.summary, metric)
    if headline is not None:
        return headline
    if not figures:
        return "federated"
    return best(figures, metric)


def _label(own: Mapping[str, Any], differing: Sequence[str], everyone: Sequence[Mapping[str, Any]]) -> str:
    """The recipe's name, and where several have it, the keys in which those differ."""
    name = str(own["name"])
    same = [one for one in everyone if one["name"] == name]
    keys = [key for key in differing if len({repr(one.get(key)) for one in same}) > 1]
    return " ".join([name, *(f"{key}={_plain(own.get(key))}" for key in keys)])


def _difference(first: Entry, second: Entry, market: str, metric: str) -> Difference:
    seeds = sorted(set(first.runs) & set(second.runs))
    if market == MEAN:
        pairs = [_between(first, second, name, metric, seeds) for name in first.shared]
        values = np.array([pair for pair in pairs if pair is not None])
        return Difference(first.label, second.label, market, _mean(values), len(values), paired_t(values))
    users = _per_user(first, second, market, metric, seeds)
    if users is None:
        between = _between(first, second, market, metric, seeds)
        return Difference(first.label, second.label, market, between or 0.0, 0 if between is None else 1, math.nan)
    return Difference(first.label, second.label, market, _mean(users), len(users), paired_t(users))


def _between(first: Entry, second: Entry, market: str, metric: str, seeds: Sequence[int]) -> float | None:
    """Difference of a market's figures, mean over common seeds."""
    pairs = [(first.value(market, metric, seed), second.value(market, metric, seed)) for seed in seeds]
    known = [left - right for left, right in pairs if left is not None and right is not None]
    return fmean(known) if known else None


def _per_user(first: Entry, second: Entry, market: str, metric: str, seeds: Sequence[int]) -> Floats | None:
    """Differences per user, each the mean over the seeds under which that user was tested; None without them."""
    found: dict[int, list[float]] = {}
    for seed in seeds:
        sides = [entry.runs[seed].per_user(market, entry.method, metric) for entry in (first, second)]
        if sides[0] is None or sides[1] is None:
            return None
        for user in sides[0].keys() & sides[1].keys():
            found.setdefault(user, []).append(sides[0][user] - sides[1][user])
    return np.array([fmean(found[user]) for user in sorted(found)]) if found else None


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _plain(value: Any) -> str:
    return ",".join(map(_plain, value)) if isinstance(value, list) else "" if value is None else f"{value}"
