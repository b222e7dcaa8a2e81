"""``fedrec sweep``: one recipe at many settings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedrec.cli.options import Set
from fedrec.cli.status import status_line
from fedrec.errors import UserError
from fedrec.offline import go_offline
from fedrec.report.tables import print_lines, print_table

if TYPE_CHECKING:
    from fedrec.simulation.tuning import Tried

app = typer.Typer(help="Run a recipe at many settings.", no_args_is_help=True, rich_markup_mode=None)
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe or a YAML file")]
Out = Annotated[Path, typer.Option(help="folder of the sweep; one that was interrupted goes on")]
Data = Annotated[Path | None, typer.Option(help="data folder; default: five synthetic markets a run")]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="runs at a time, each in a process of its own")]
_SHOWN = 20  # points in the terminal's table


@app.callback()
def _group() -> None:
    """Run a recipe at many settings."""


@app.command()
def grid(
    recipe: RecipeName,
    axes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE,VALUE...", help="all combinations are run")],
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, with seeds from 0")] = 3,
    data: Data = None,
    jobs: Jobs = 1,
    overrides: Set = None,
) -> None:
    """Run every combination of some keys' values; validation chooses, and the best is written as a recipe."""
    go_offline()  # before Flower is imported
    from fedrec.simulation.tuning import sweep_grid

    with status_line() as (progress, details):
        tried = _last(sweep_grid(recipe, axes, seeds, overrides or [], data, out, progress, details, jobs))
    _print_tried(out, tried)


@app.command()
def optimise(
    recipe: RecipeName,
    axes: Annotated[
        list[str], typer.Argument(metavar="KEY=SPACE...", help="KEY=a,b,c, KEY=LOW..HIGH or KEY=LOW..HIGH:log")
    ],
    out: Out,
    trials: Annotated[int, typer.Option(min=1, help="settings to try; more may be asked for later")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, with seeds from 0")] = 1,
    data: Data = None,
    prune: Annotated[bool, typer.Option(help="give up trials that lag behind the median of earlier ones")] = True,
    overrides: Set = None,
) -> None:
    """Let Optuna propose settings; validation chooses, and the best is written as a recipe."""
    go_offline()  # before Flower is imported
    try:
        from fedrec.simulation.optimise import optimise as run_trials
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError(
            "sweep optimise: needs Optuna; install fedrec with its extra: `pip install '.[tune]'` in its folder"
        ) from None

    with status_line() as (progress, details):
        tried = _last(run_trials(recipe, axes, trials, seeds, overrides or [], data, out, prune, progress, details))
    _print_tried(out, tried)


@app.command("privacy")
def sweep_privacy(
    recipe: RecipeName,
    out: Out,
    epsilon: Annotated[str, typer.Option(help="epsilons, separated by commas; inf is no noise")] = "inf,16,8,4,2,1",
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, with seeds from 0")] = 3,
    data: Data = None,
    left_out: Annotated[float, typer.Option(help="share of each market's users left out of training")] = 0.2,
    jobs: Jobs = 1,
    overrides: Set = None,
) -> None:
    """Run a recipe at several epsilons, attack every run, and write what it bought and what it cost."""
    go_offline()  # before Flower is imported
    from fedrec.simulation.privacy_sweep import sweep_privacy as run_sweep

    try:
        points = [float(part) for part in epsilon.split(",")]
    except ValueError:
        raise UserError(f"--epsilon {epsilon!r}: numbers separated by commas, such as inf,8,2") from None
    with status_line() as (progress, details):
        page = run_sweep(recipe, points, seeds, overrides or [], data, out, left_out, progress, details, jobs)
    print_lines(Console(markup=False), [f"in words and pictures: {page}", f"every figure: {out}/tradeoff.csv"])


@app.command("contributions")
def sweep_contributions(
    recipe: RecipeName,
    data: Annotated[Path, typer.Option(help="data folder")],
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, with seeds from 0")] = 1,
    jobs: Jobs = 1,
    overrides: Set = None,
) -> None:
    """Run a recipe with all markets and without each of them: what every market gets of the others, and gives them."""
    go_offline()  # before Flower is imported
    from fedrec.report.contributions import sentences, table
    from fedrec.simulation.contributions import sweep_contributions as run_sweep

    with status_line() as (progress, details):
        effects = run_sweep(recipe, seeds, overrides or [], data, out, progress, details, jobs)
    console = Console(markup=False)
    header, rows = table(effects)
    print_table(console, "NDCG@10 that each market (a column) loses without another (a line)", header, rows)
    print_lines(console, [*sentences(effects), f"in words and pictures: {out / 'index.html'}"])


def _last(found: "Iterator[list[Tried]]") -> "list[Tried]":
    tried: list[Tried] = []
    for tried in found:  # noqa: B007  files are written at each
        pass
    return tried


def _short(value: str) -> str:
    """A proposed number has seventeen digits; the file has them all."""
    return f"{float(value):.4g}" if len(value) > 8 and value.replace(".", "").replace("e-", "").isdecimal() else value


def _print_tried(out: Path, tried: "Sequence[Tried]") -> None:
    """Validation of every point, test figures of the best alone."""
    from fedrec.report.words import headline_metric
    from fedrec.simulation.tuning import figures_on_test

    console = Console(markup=False)
    best = tried[0]
    keys = [override.partition("=")[0] for override in best.point.overrides]
    rows = [
        [
            *(_short(override.partition("=")[2]) for override in one.point.overrides),
            ",".join(str(done.seed) for done in one.done),
            f"{one.validation:.4f}",
            "" if one.spread is None else f"{one.spread:.4f}",
            f"{one.cost('megabytes'):.2f}",
            f"{one.cost('seconds'):.0f}",
        ]
        for one in tried[:_SHOWN]
    ]
    more = f"; {len(tried) - _SHOWN} more in sweep.csv" if len(tried) > _SHOWN else ""
    header = [*keys, "seeds", "validation", "± sd", "MB up", "seconds"]
    print_table(console, "Validation, mean over markets and seeds", header, rows, f"best first{more}")
    metric = headline_metric(best.done[0].summary)
    test = ", ".join(f"{name} {figure:.4f}" for name, figure in figures_on_test(best, metric).items())
    lines = [
        f"best: {' '.join(best.point.overrides)}",
        f"its test figures, mean {metric.upper()}: {test}",
        f"as a recipe: {out}/best.yaml; every run: {out}/sweep.csv",
    ]
    print_lines(console, lines)
