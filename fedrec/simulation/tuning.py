"""Recipe keys chosen by validation: every combination of a grid, or what a sampler proposes.

Validation chooses, test is read once: the tables show validation figures, and the test figures of the best point alone.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from fedrec.errors import UserError
from fedrec.exchange.declaration import CTR, FINETUNE
from fedrec.files import write_atomic
from fedrec.progress import Progress, no_progress
from fedrec.recipe import load_recipe
from fedrec.report.figures import csv_text
from fedrec.report.tables import common_means
from fedrec.runs.folder import RunFolder
from fedrec.simulation.sweep import Done, Point, sweep
from fedrec.strict_yaml import dump_yaml

_METHOD = "federated"


@dataclass(frozen=True)
class Tried:
    """One setting with what it came to under every seed, as far as they are run."""

    point: Point
    done: Sequence[Done]

    @property
    def validations(self) -> list[float]:
        """By seed."""
        return [validation(done.run) for done in self.done]

    @property
    def markets(self) -> int:
        """How many were validated, under the seed where they were fewest."""
        return min(len(_validated(done.run)) for done in self.done)

    @property
    def validation(self) -> float:
        """Mean over seeds."""
        return fmean(self.validations)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds."""
        return stdev(self.validations) if len(self.done) > 1 else None

    def cost(self, name: str) -> float:
        """Mean over seeds of ``megabytes`` or ``seconds``."""
        summaries = [done.summary for done in self.done]
        return fmean(one["bytes"]["up"] / 1e6 if name == "megabytes" else one["seconds"]["total"] for one in summaries)


def validation(run: RunFolder) -> float:
    """What a finished run's federated models reached on validation users, mean over markets; higher is better.

    NDCG@10, or of click-through models minus the LogLoss that stopped their training. Raises :class:`UserError` where
    nothing was trained.
    """
    found = _validated(run)
    if not found:
        raise UserError(f"{run.path}: no federated model was validated; sweep a recipe whose methods have federated")
    return fmean(found)


def _validated(run: RunFolder) -> list[float]:
    """One figure a market that finished its training."""
    journal = run.read_journal()
    steps = journal.steps
    if CTR in steps:
        return [-one[f"{_METHOD}.validation"] for one in steps[CTR].values() if f"{_METHOD}.validation" in one]
    found = [one["validation"] for one in steps.get(FINETUNE, {}).values() if "validation" in one]
    # A finished model that has learned from validation users says nothing; the rounds before did.
    return found or list(journal.chosen.get("validations", {}).values())


def require_tunable(reference: str, overrides: Sequence[str]) -> str:
    """What validation figure a recipe is chosen by, in words. Raises :class:`UserError` for one that has none."""
    recipe = load_recipe(reference, overrides)
    if _METHOD not in recipe.evaluation.methods:
        raise UserError(f"evaluation.methods {recipe.evaluation.methods}: validation chooses by federated; add it")
    if recipe.privacy.on and recipe.privacy.reports != "outside":
        raise UserError(
            f"privacy.reports {recipe.privacy.reports}: validation figures stay in the markets; set it to outside"
        )
    return "minus LogLoss" if recipe.task == "ctr" else "NDCG@10"


def split_values(values: str) -> list[str]:
    """What stands between commas; commas inside brackets belong to a value."""
    return re.split(r",(?![^\[]*\])", values)


def grid_points(axes: Sequence[str]) -> list[Point]:
    """All combinations of ``key=value,value,...``; commas inside brackets belong to a value."""
    parsed: dict[str, list[str]] = {}
    for axis in axes:
        key, sign, values = axis.partition("=")
        if not sign or not key or not values:
            raise UserError(f"{axis!r}: name a key and its values, such as loss.lam=0,0.3")
        if key in parsed:
            raise UserError(f"{axis!r}: {key} is given twice")
        parsed[key] = split_values(values)
    combinations = [list(zip(parsed, values, strict=True)) for values in itertools.product(*parsed.values())]
    points = [Point(_label(pairs), tuple(f"{key}={value}" for key, value in pairs)) for pairs in combinations]
    labels = [point.label for point in points]
    if len(set(labels)) < len(labels):
        raise UserError(f"{' '.join(axes)}: two points would have the same name; leave out what is there twice")
    return points


def sweep_grid(
    reference: str,
    axes: Sequence[str],
    seeds: int,
    overrides: Sequence[str],
    data: Path | None,
    out: Path,
    progress: Progress,
    details: Progress = no_progress,
    jobs: int = 1,
) -> Iterator[list[Tried]]:
    """Run every point under every seed; after each run all points tried, best first, and files written anew.

    ``jobs``, ``progress`` and ``details`` as in :func:`fedrec.simulation.sweep.sweep`.
    """
    require_tunable(reference, overrides)
    points = grid_points(axes)
    found: dict[str, list[Done]] = {}
    for done in sweep(reference, points, seeds, overrides, data, out, progress, details, jobs):
        found.setdefault(done.point.label, []).append(done)
        tried = ranked(Tried(point, found[point.label]) for point in points if point.label in found)
        write_tried(out, tried)
        complete = [one for one in tried if len(one.done) == seeds]
        if complete:
            write_best(out, reference, overrides, complete[0].point)
        yield tried


def ranked(tried: Iterable[Tried]) -> list[Tried]:
    """Best first; of equals, the one that was asked for first. Behind all others those that lack a market's figure:
    a mean over fewer markets says something else."""
    return sorted(tried, key=lambda one: (-one.markets, -one.validation))


def write_tried(out: Path, tried: Sequence[Tried]) -> None:
    """Write ``sweep.csv``: one line a run."""
    keys = [override.partition("=")[0] for override in tried[0].point.overrides]
    rows = [
        [
            *(override.partition("=")[2] for override in one.point.overrides),
            done.seed,
            value,
            len(done.summary["rounds"]),
            done.summary["bytes"]["up"],
            done.summary["seconds"]["total"],
            str(done.run.path.relative_to(out)),
        ]
        for one in tried
        for done, value in zip(one.done, one.validations, strict=True)
    ]
    header = [*keys, "seed", "validation", "rounds", "bytes_up", "seconds", "run"]
    write_atomic(out / "sweep.csv", csv_text(header, rows).encode())


def write_best(out: Path, reference: str, overrides: Sequence[str], point: Point) -> Path:
    """Write ``best.yaml``: the recipe, its overrides and the best point's, as one recipe."""
    recipe = load_recipe(reference, [*overrides, *point.overrides])
    write_atomic(out / "best.yaml", dump_yaml(recipe.model_dump(mode="json")).encode())
    return out / "best.yaml"


def figures_on_test(best: Tried, metric: str) -> dict[str, float]:
    """Mean test figure of every method over the markets that have all, and over the seeds of the best point."""
    figures = [common_means(done.summary, metric)[0] for done in best.done]
    return {name: fmean(one[name] for one in figures) for name in figures[0] if all(name in one for one in figures)}


def _label(pairs: Sequence[tuple[str, str]]) -> str:
    """A name for folders."""
    words = [f"{key.rpartition('.')[2]}-{value}" for key, value in pairs]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(words)).strip("_")
