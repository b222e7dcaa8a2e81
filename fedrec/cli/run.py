"""``fedrec run``, ``adapt``, ``report``, ``recommend`` and ``recipes``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fedrec.errors import FedrecError, RunError, UserError
from fedrec.offline import go_offline
from fedrec.recipe import HEADLINES, load_recipe, recipe_names, recipe_schema, recipe_text
from fedrec.report.following import JsonView, Listener, follow
from fedrec.report.progress import ProgressView
from fedrec.report.tables import differences_table, print_lines, print_table, privacy_lines, results_table
from fedrec.report.trackers import make_trackers
from fedrec.report.words import headline_metric
from fedrec.runs.folder import RunFolder, dated
from fedrec.runs.manifest import leaves

if TYPE_CHECKING:
    from fedrec.deployment.run import Deployment
    from fedrec.simulation.run import Simulation

_NOTE = "gain: federated minus local, paired per user, with its 95 % bootstrap interval"
_DIFFERENCES_NOTE = "mean difference per user with its 95 % bootstrap interval; * where the interval excludes zero"
Out = Annotated[Path | None, typer.Option(help="run folder; default: runs/<time>-<recipe>-<seed>")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key.key=value, as often as needed")]

Log = Annotated[str, typer.Option(help="plain lines, or json: a line an event, then one of the end")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print errors alone")]
Track = Annotated[str | None, typer.Option(help="tensorboard, mlflow, wandb: those named, separated by commas")]


def run(
    recipe: Annotated[
        str | None, typer.Argument(help="a shipped recipe (see `fedrec recipes`) or a YAML file; default: fecosr")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="data folder; default: five synthetic markets")] = None,
    out: Out = None,
    engine: Annotated[str | None, typer.Option(help="inline, ray or deploy")] = None,
    connection: Annotated[
        str | None, typer.Option(help="of engine deploy: a folder that `fedrec deploy init` made, or its name")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of every random choice")] = None,
    overrides: Set = None,
    resume: Annotated[Path | None, typer.Option(help="run folder of an interrupted run; needs nothing else")] = None,
    log: Log = "plain",
    quiet: Quiet = False,
    track: Track = None,
) -> None:
    """Run an experiment and print how every method did in every market."""
    from fedrec.simulation.run import prepare_simulation, resume_simulation

    telling = _Telling(log, quiet, track)
    if resume is not None:
        given = {"RECIPE": recipe, "--data": data, "--out": out, "--engine": engine, "--seed": seed, "--set": overrides}
        extra = [name for name, value in {**given, "--connection": connection}.items() if value not in (None, [])]
        if extra:
            raise UserError(f"--resume {resume}: goes on with that run as it is; leave out {', '.join(extra)}")
        if RunFolder.open(resume).read_manifest()["deployment"] is None:
            _lead(resume_simulation(resume), telling)
        else:
            go_offline()
            from fedrec.deployment.run import resume_deployment

            _lead(resume_deployment(resume), telling)
        return
    changes = list(overrides or [])
    changes += [f"engine.kind={engine}"] if engine is not None else []
    changes += [f"seed={seed}"] if seed is not None else []
    resolved = load_recipe(recipe or "fecosr", changes)
    if (resolved.engine.kind == "deploy") != (connection is not None):
        raise UserError("--connection: names the SuperLink of --engine deploy; give both, or neither")
    if connection is not None:
        if data is not None:
            raise UserError(
                f"--data {data}: in a deployment every market has its own data on its own host; leave it out"
            )
        go_offline()
        from fedrec.deployment.run import prepare_deployment

        _lead(prepare_deployment(resolved, connection, out, dated(f"{resolved.name}-{resolved.seed}").name), telling)
        return
    out = out or dated(f"{resolved.name}-{resolved.seed}")
    hints = [
        "try next: fedrec run --set loss.lam=0            plain cross-entropy instead of S2CE",
        f"          fedrec recommend {out} --market alfa --user alfa-00000",
        "          fedrec data synth DIR --overlap 0      markets with nothing but behaviour in common",
        "          fedrec data import xmarket-5core SRC DIR && fedrec run fecosr --data DIR",
    ]
    _lead(prepare_simulation(resolved, data, out), telling, hints if data is None else [])


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

    telling = _Telling(log, quiet, track)
    _lead(prepare_adaptation(source, data, out or dated(f"adapt-{source.resolve().name}"), overrides or []), telling)


def report(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    metric: Annotated[
        str | None, typer.Option(help="for example ndcg@20, recall@10, mrr@10, coverage@10, logloss")
    ] = None,
) -> None:
    """Print a finished run: methods, markets, how sure the differences are, rounds and bytes. Writes its page anew."""
    summary = RunFolder.open(path).read_summary()
    known = sorted({name for metrics in summary["mean"].values() for name in metrics})
    metric = metric or headline_metric(summary)
    if known and metric not in known:
        raise UserError(f"--metric {metric!r}: {path} has {', '.join(known)}")
    console = Console(markup=False)
    _print_results(console, summary, metric)
    for method in HEADLINES:
        header, rows = differences_table(summary, method, metric)
        if rows:
            print_table(console, f"{metric.upper()}: {method} minus ...", header, rows, _DIFFERENCES_NOTE)
    rounds = summary["rounds"]
    lines = privacy_lines(summary)
    if rounds:
        rejected = sum(len(record["rejected"]) for record in rounds)
        seconds = sum(record["seconds"] for record in rounds) / len(rounds)
        lines.append(f"rounds: {len(rounds)}, {seconds:.1f} s each, {rejected} replies not used")
    up, down = (summary["bytes"][way] / 1e6 for way in ("up", "down"))
    lines.append(f"left the markets: {up:.2f} MB, came to them: {down:.2f} MB (item by item: {_ledger(path)})")
    lines.append(
        f"recipe {summary['recipe']}, engine {summary['engine']}, device {summary['device']}, "
        f"{summary['seconds']['total']:.0f} s, peak memory {summary['peak_rss_mb']:.0f} MB"
    )
    print_lines(console, [*lines, f"as a page, with figures: {_write_page(path)}"])


def recommend(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    market: Annotated[str, typer.Option(help="the market")],
    user: Annotated[str | None, typer.Option(help="a user of that market")] = None,
    history: Annotated[str | None, typer.Option(help="item keys, oldest first, separated by commas")] = None,
    count: Annotated[int, typer.Option("-k", help="how many items")] = 10,
    method: Annotated[str | None, typer.Option(help="default: the first of federated, fedease, ... there")] = None,
    data: Annotated[
        Path | None, typer.Option(help="on a market's own host: its store; RUN is then the run in its private state")
    ] = None,
) -> None:
    """Recommend items to a user of a market, or to somebody with a given history."""
    from fedrec.simulation.recommend import Recommender

    keys = [key.strip() for key in (history or "").split(",") if key.strip()]
    found = Recommender.open(path, market, data).recommend(keys, count, user=user, method=method)
    rows = [
        [str(rank), entry.item, f"{entry.score:.3f}", str(entry.bought), entry.text]
        for rank, entry in enumerate(found.items, start=1)
    ]
    console = Console(markup=False)
    whom = user if user is not None else f"a history of {len(keys)}"
    print_table(
        console,
        f"{market}: for {whom}, by {found.method}",
        ["", "item", "score", "bought by", "text"],
        rows,
        "bought by: users in training" + ("" if any(row[-1] for row in rows) else "; this catalogue has no texts"),
    )
    print_lines(console, [f"note: {note}" for note in found.notes])


def recipes(
    name: Annotated[str | None, typer.Argument(help="print this recipe's YAML, a manual of its keys")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of recipes, for editors")] = False,
) -> None:
    """List the shipped recipes, or print one."""
    if schema:
        if name is not None:
            raise UserError(f"--schema: is that of all recipes; leave out {name}")
        typer.echo(json.dumps(recipe_schema(), indent=1))
        return
    if name is None:
        for known in recipe_names():
            first = recipe_text(known).partition("\n")[0].lstrip("# ")
            typer.echo(f"{known}  {first}")
        return
    load_recipe(name)
    typer.echo(recipe_text(name) if name in recipe_names() else Path(name).read_text(encoding="utf-8"), nl=False)


@dataclass(frozen=True)
class _Telling:
    """How a run is told of while it goes on, and to whom."""

    log: str
    quiet: bool
    track: str | None

    def __post_init__(self) -> None:
        if self.log not in {"plain", "json"}:
            raise UserError(f"--log {self.log!r}: plain or json")
        make_trackers(self.track, Path(), {})  # refuses what is not there before a run folder is made


def _lead(simulation: "Simulation | Deployment", telling: _Telling, hints: list[str] | None = None) -> None:
    """Run to the end while listeners are told, then print the figures."""
    console = Console(markup=False)
    out = simulation.run.path
    view: Listener | None = None
    if not telling.quiet:
        view = JsonView(typer.echo) if telling.log == "json" else ProgressView(console)
    listeners = [*([view] if view else []), *make_trackers(telling.track, out, dict(leaves(_recipe_of(simulation))))]
    try:
        with follow(simulation.run.events, listeners):
            summary = simulation.start(view.answered if view else lambda _market, _action: None)
    except UserError:
        raise
    except FedrecError as error:
        raise RunError(f"{error} (run folder: {out})") from error
    page = _write_page(out)
    if telling.log == "json" and not telling.quiet:
        typer.echo(json.dumps({"event": "written", "folder": str(out), "report": str(page), "mean": summary["mean"]}))
    elif not telling.quiet:
        _print_end(console, out, page, summary, hints or [])


def _recipe_of(simulation: "Simulation | Deployment") -> dict[str, Any]:
    return simulation.recipe.model_dump(mode="json")


def _print_end(console: Console, out: Path, page: Path, summary: dict[str, Any], hints: list[str]) -> None:
    _print_results(console, summary, headline_metric(summary))
    for failure in summary["failed"]:
        console.print(f"missing: {failure['market']}, {failure['action']}: {failure['reason']}", highlight=False)
    lines = [
        f"run folder: {out} ({summary['seconds']['total']:.0f} s); the whole report: {page}",
        f"what left the markets, item by item: {_ledger(out)}",
        *privacy_lines(summary),
    ]
    print_lines(console, lines + hints)


def _ledger(run: Path) -> str:
    """Where it is written what left the markets: on one machine in the run, else on each market's own host."""
    path = run / "ledger.jsonl"
    return str(path) if path.is_file() else f"on each market's host, fedrec ledger STATE/{run.name}"


def _write_page(run: Path) -> Path:
    from fedrec.simulation.run_page import write_page

    return write_page(run)


def _print_results(console: Console, summary: dict[str, Any], metric: str) -> None:
    if not summary["mean"]:
        console.print(
            "no figures of users left the markets; each has its own in markets/*/report.json", highlight=False
        )
        return
    header, rows = results_table(summary, metric)
    title = f"{metric.upper()} per market, protocol {summary['protocol']}, seed {summary['seed']}"
    print_table(console, title, header, rows, _NOTE if "gain" in header else "")
