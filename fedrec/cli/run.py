"""``fedrec run`` and ``fedrec recipes``."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.errors import FedrecError, RunError
from fedrec.recipe import load_recipe, recipe_names, recipe_text
from fedrec.report.progress import ProgressView
from fedrec.report.tables import print_table, results_table

_METRIC = "ndcg@10"
_NOTE = "gain: federated minus local, paired per user, with its 95 % bootstrap interval"


def run(
    recipe: Annotated[str, typer.Argument(help="a shipped recipe (see `fedrec recipes`) or a YAML file")] = "fecosr",
    data: Annotated[Path | None, typer.Option(help="data folder; default: five synthetic markets")] = None,
    out: Annotated[Path | None, typer.Option(help="run folder; default: runs/<time>-<recipe>-<seed>")] = None,
    engine: Annotated[str | None, typer.Option(help="inline")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of every random choice")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key.key=value, as often as needed")] = None,
) -> None:
    """Run an experiment and print how every method did in every market."""
    from fedrec.simulation.run import prepare_simulation

    changes = list(overrides or [])
    changes += [f"engine.kind={engine}"] if engine is not None else []
    changes += [f"seed={seed}"] if seed is not None else []
    resolved = load_recipe(recipe, changes)
    out = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{resolved.name}-{resolved.seed}"
    console = Console()
    simulation = prepare_simulation(resolved, data, out)
    view = ProgressView(console)
    try:
        with view.follow(simulation.run.events):
            summary = simulation.start(view.answered)
    except FedrecError as error:
        raise RunError(f"{error} (run folder: {out})") from error
    header, rows = results_table(summary, _METRIC)
    title = f"{_METRIC.upper()} per market, protocol {summary['protocol']}, seed {summary['seed']}"
    print_table(console, title, header, rows, _NOTE)
    for failure in summary["failed"]:
        console.print(f"missing: {failure['market']}, {failure['action']}: {failure['reason']}", highlight=False)
    seconds = summary["seconds"]["total"]
    lines = [
        f"run folder: {out} ({seconds:.0f} s); all figures: {out}/summary.json",
        f"what left the markets, item by item: {out}/ledger.jsonl",
    ]
    if data is None:
        lines += [
            "try next: fedrec run --set loss.lam=0            plain cross-entropy instead of S2CE",
            "          fedrec data synth DIR --overlap 0      markets with nothing but behaviour in common",
            "          fedrec data import xmarket-5core SRC DIR && fedrec run fecosr --data DIR",
        ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def recipes(
    name: Annotated[str | None, typer.Argument(help="print this recipe's YAML, a manual of its keys")] = None,
) -> None:
    """List the shipped recipes, or print one."""
    if name is None:
        for known in recipe_names():
            first = recipe_text(known).partition("\n")[0].lstrip("# ")
            typer.echo(f"{known}  {first}")
        return
    load_recipe(name)
    typer.echo(recipe_text(name) if name in recipe_names() else Path(name).read_text(encoding="utf-8"), nl=False)
