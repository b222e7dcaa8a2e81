"""Many runs of one recipe that differ in a key: point by point, seed by seed, each in a folder of its own.

A sweep that was interrupted goes on where it stopped: what is finished is not done again, what was begun is resumed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.errors import UserError
from fedrec.files import read_json, reading, write_json
from fedrec.progress import Progress, no_progress
from fedrec.recipe import Recipe, load_recipe, recipe_json
from fedrec.runs.folder import RunFolder
from fedrec.simulation.complete import complete
from fedrec.simulation.jobs import Job, run_jobs
from fedrec.words import cleaned


@dataclass(frozen=True)
class Point:
    """One setting of what is swept: its name in folders and tables, and what it changes."""

    label: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """One finished run of a sweep."""

    point: Point
    seed: int
    run: RunFolder
    summary: dict[str, Any]

    @classmethod
    def read(cls, point: Point, seed: int, run: RunFolder) -> "Done":
        """What a finished run came to."""
        return cls(point, seed, run, run.read_summary())


def run_path(out: Path, point: Point, seed: int) -> Path:
    """Where the run of a point under a seed lies in the folder of its sweep."""
    return out / "runs" / f"{point.label}-seed-{seed}"


def sweep(
    reference: str,
    points: Sequence[Point],
    seeds: int,
    overrides: Sequence[str],
    data: Path | None,
    out: Path,
    progress: Progress,
    details: Progress = no_progress,
    jobs: int = 1,
) -> Iterator[Done]:
    """Run what is missing; every run, in order. Raises :class:`UserError` where ``out`` holds something else.

    ``jobs``: how many runs at a time; of two and more each has a process of its own. ``progress`` hears of every run,
    ``details`` of every event in it where they come one by one.
    """
    for point in points:
        refuse_fixed([*overrides, *point.overrides])
    recipes = {
        (point, seed): load_recipe(reference, [*overrides, *point.overrides, f"seed={seed}"])
        for seed in range(seeds)
        for point in points
    }
    _claim(out, recipes, data)
    if jobs > 1:
        asked = [
            Job(recipe, data, run_path(out, point, seed), f"{point.label}, seed {seed}")
            for (point, seed), recipe in recipes.items()
        ]
        for (point, seed), run in zip(recipes, run_jobs(asked, jobs, progress), strict=True):
            yield Done.read(point, seed, run)
        return
    for number, ((point, seed), recipe) in enumerate(recipes.items(), start=1):
        progress(f"run {number} of {len(recipes)}: {point.label}, seed {seed}")
        yield Done.read(point, seed, complete(recipe, data, run_path(out, point, seed), details))


def refuse_fixed(overrides: Sequence[str]) -> None:
    """Raise :class:`UserError` for keys that a sweep sets itself."""
    for override in overrides:
        key, _, value = (part.strip() for part in override.partition("="))
        if key == "seed":
            raise UserError(f"{override}: a sweep's seeds are those of --seeds; leave the key out")
        if (key, value) == ("engine.kind", "deploy"):
            raise UserError(f"{override}: a sweep runs on this machine; choose inline or ray")


def _claim(out: Path, recipes: dict[tuple[Point, int], Recipe], data: Path | None) -> None:
    """Write down what the sweep is made of; more points or seeds may be added later, but none may change."""
    path = out / "sweep.json"
    wanted = {f"{point.label}-seed-{seed}": recipe_json(recipe) for (point, seed), recipe in recipes.items()}
    folder = str(data.resolve()) if data is not None else None
    if path.is_file():
        known = read_json(path)
        with reading(path):
            before, runs = known["data"], dict(known["runs"])
        if before != folder:
            raise UserError(f"{path}: was begun on {cleaned(str(before), 200)}, not {folder}; choose another --out")
        changed = sorted(name for name, recipe in wanted.items() if runs.get(name, recipe) != recipe)
        if changed:
            raise UserError(f"{path}: {changed[0]} was begun with another recipe; choose another --out")
        wanted = {**runs, **wanted}
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: not empty, and no sweep; choose another --out")
    write_json(path, {"data": folder, "runs": wanted})
