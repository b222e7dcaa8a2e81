"""``fedrec run`` and ``adapt``."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fedrec.cli.options import Set
from fedrec.cli.report import ledger_place, print_results
from fedrec.errors import FedrecError, RunError, UserError
from fedrec.memory_plan import FORMS
from fedrec.offline import go_offline
from fedrec.progress import ignore
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.following import JsonView, Listener, follow
from fedrec.report.progress import ProgressView
from fedrec.report.tables import print_lines, privacy_lines
from fedrec.report.trackers import make_trackers
from fedrec.report.words import headline_metric
from fedrec.runs.folder import RunFolder, dated
from fedrec.runs.manifest import leaves

if TYPE_CHECKING:
    from fedrec.deployment.run import Deployment
    from fedrec.simulation.run import Simulation

Out = Annotated[Path | None, typer.Option(help="run folder; default: runs/<time>-<recipe>-<seed>")]

Log = Annotated[str, typer.Option(help="plain lines, or json: a line an event, then one of the end")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print errors alone")]
Track = Annotated[str | None, typer.Option(help="tensorboard, mlflow, wandb: those named, separated by commas")]


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="a shipped recipe (see `fedrec recipes`) or a YAML file; default: ranker where --data names markets, "
            "else fecosr"
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="data folder; default: synthetic markets")] = None,
    out: Out = None,
    engine: Annotated[str | None, typer.Option(help="inline, ray or deploy")] = None,
    connection: Annotated[
        str | None, typer.Option(help="of engine deploy: a folder that `fedrec deploy init` made, or its name")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of every random choice")] = None,
    overrides: Set = None,
    warm_start: Annotated[
        Path | None, typer.Option(help="a finished run, or a copy of its shared/, whose model the rounds begin with")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="two rounds of a small model: does it run at all? Without --data on tiny markets"),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(help="run folder of an interrupted run; may --set ease.dense_items and ease.neighbours, no more"),
    ] = None,
    log: Log = "plain",
    quiet: Quiet = False,
    track: Track = None,
) -> None:
    """Run an experiment and print how every method did in every market."""
    from fedrec.simulation.quick import quickened, tiny_markets
    from fedrec.simulation.run import prepare_simulation, resume_simulation

    shown = _ProgressOptions(log, quiet, track)
    if resume is not None:
        given: dict[str, object] = {"RECIPE": recipe, "--data": data, "--out": out, "--engine": engine, "--seed": seed}
        given |= {"--connection": connection, "--warm-start": warm_start, "--quick": quick or None}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise UserError(f"--resume {resume}: goes on with that run as it is; leave out {', '.join(extra)}")
        refused = [one for one in overrides or [] if one.partition("=")[0].strip() not in FORMS]
        if refused:
            raise UserError(
                f"--resume {resume}: goes on with that run as it is; --set {refused[0]!r} may change no more than "
                f"{' and '.join(sorted(FORMS))}"
            )
        if RunFolder.open(resume).read_manifest()["deployment"] is None:
            _lead(resume_simulation(resume, overrides or []), shown)
        elif overrides:
            raise UserError(f"--resume {resume}: a deployed run goes on as it is; leave out --set")
        else:
            go_offline()
            from fedrec.deployment.run import resume_deployment

            _lead(resume_deployment(resume), shown)
        return
    changes = list(overrides or [])
    for option, key, value in (("--engine", "engine.kind", engine), ("--seed", "seed", seed)):
        if value is not None and key in [change.partition("=")[0].strip() for change in changes]:
            raise UserError(f"{option} {value}: {key} is given with --set too; leave one out")
    changes += [f"engine.kind={engine}"] if engine is not None else []
    changes += [f"seed={seed}"] if seed is not None else []
    best = "fecosr" if data is None else "ranker"  # on real markets: docs/results/ranker.md
    resolved = load_recipe(recipe or best, changes)
    if quick:
        resolved = quickened(resolved, changes)
    if (resolved.engine.kind == "deploy") != (connection is not None):
        raise UserError("--connection: names the SuperLink of --engine deploy; give both, or neither")
    if connection is not None:
        if quick:
            raise UserError("--quick: is for simulations; leave it out")
        if data is not None:
            raise UserError(
                f"--data {data}: in a deployment every market has its own data on its own host; leave it out"
            )
        go_offline()
        from fedrec.deployment.run import prepare_deployment

        name = dated(f"{resolved.name}-{resolved.seed}").name
        _lead(prepare_deployment(resolved, connection, out, name, warm_start), shown)
        return
    out = out or dated(f"{resolved.name}-{resolved.seed}")
    tiny = tiny_markets(resolved.seed) if quick else None
    simulation = prepare_simulation(resolved, data, out, warm_start=warm_start, synthetic=tiny)
    if quick:
        hints = ["--quick: two rounds of a small model; that it ran is all that these figures say"]
    else:
        hints = _hints(resolved, out) if data is None else []
    _lead(simulation, shown, hints)


def adapt(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="a finished run, or a copy of its folder shared/")],
    data: Annotated[Path, typer.Argument(help="data folder of markets that never took part")],
    out: Out = None,
    overrides: Set = None,
    log: Log = "plain",
    quiet: Quiet = False,
    track: Track = None,
) -> None:
    """Fine-tune a finished run's shared model for markets that never took part."""
    from fedrec.simulation.adapt import prepare_adaptation

    shown = _ProgressOptions(log, quiet, track)
    _lead(prepare_adaptation(source, data, out or dated(f"adapt-{source.resolve().name}"), overrides or []), shown)


@dataclass(frozen=True)
class _ProgressOptions:
    """How a run's progress is shown, and to which trackers it goes."""

    log: str
    quiet: bool
    track: str | None

    def __post_init__(self) -> None:
        if self.log not in {"plain", "json"}:
            raise UserError(f"--log {self.log!r}: plain or json")
        make_trackers(self.track, Path(), {})  # refuses what is not there before a run folder is made


def _lead(simulation: "Simulation | Deployment", shown: _ProgressOptions, hints: list[str] | None = None) -> None:
    """Run to the end while listeners are told, then print the figures."""
    console = Console(markup=False)
    out = simulation.run.path
    view: Listener | None = None
    if not shown.quiet:
        view = JsonView(typer.echo) if shown.log == "json" else ProgressView(console)
    listeners = [*([view] if view else []), *make_trackers(shown.track, out, dict(leaves(_recipe_of(simulation))))]
    try:
        with follow(simulation.run.events, listeners):
            summary = simulation.start(view.answered if view else ignore)
    except UserError:
        raise
    except FedrecError as error:
        raise RunError(f"{error} (run folder: {out})") from error
    except KeyboardInterrupt:
        if (out / "manifest.json").is_file():
            typer.echo(f"what is done is kept: {shlex.join(['fedrec', 'run', '--resume', str(out)])}", err=True)
        raise
    from fedrec.simulation.run_page import write_page

    page = write_page(out)
    if shown.log == "json" and not shown.quiet:
        typer.echo(json.dumps({"event": "written", "folder": str(out), "report": str(page), "mean": summary["mean"]}))
    elif not shown.quiet:
        _print_end(console, out, page, summary, hints or [])


def _hints(recipe: Recipe, out: Path) -> list[str]:
    """What somebody who has just seen synthetic markets may try."""
    hints = [
        "fedrec data synth DIR --overlap 0      markets with nothing but behaviour in common",
        f"fedrec data import xmarket-5core SRC DIR && fedrec run {recipe.name} --data DIR",
    ]
    if recipe.task == "sequential":
        hints.insert(0, f"fedrec recommend {out} --market alfa --user alfa-00000")
    if recipe.name == "fecosr" and recipe.loss.kind == "s2ce" and recipe.loss.lam:
        hints.insert(0, "fedrec run --set loss.lam=0            plain cross-entropy instead of S2CE")
    return [f"{'' if place else 'try next:':10}{hint}" for place, hint in enumerate(hints)]


def _recipe_of(simulation: "Simulation | Deployment") -> dict[str, Any]:
    return simulation.recipe.model_dump(mode="json")


def _print_end(console: Console, out: Path, page: Path, summary: dict[str, Any], hints: list[str]) -> None:
    print_results(console, summary, headline_metric(summary))
    for failure in summary["failed"]:
        console.print(f"missing: {failure['market']}, {failure['action']}: {failure['reason']}", highlight=False)
    lines = [
        f"run folder: {out} ({summary['seconds']['total']:.0f} s); the whole report: {page}",
        f"what left the markets, item by item: {ledger_place(out)}",
        *privacy_lines(summary),
    ]
    print_lines(console, lines + hints)
