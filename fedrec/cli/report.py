"""``fedrec report``, and what ``fedrec run`` prints at its end."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedrec.errors import UserError
from fedrec.recipe import HEADLINES
from fedrec.report.tables import differences_table, print_lines, print_table, privacy_lines, results_table
from fedrec.report.words import first_model, headline_metric, kept_untrained
from fedrec.runs.folder import RunFolder

_NOTE = "gain: federated minus local, paired per user, with its 95 % bootstrap interval"
_OUTSIDE_NOTE = "outside: share of targets that the catalogue does not hold, misses for every method"
_DIFFERENCES_NOTE = "mean difference per user with its 95 % bootstrap interval; * where the interval excludes zero"


def report(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    metric: Annotated[
        str | None, typer.Option(help="for example ndcg@20, recall@10, mrr@10, coverage@10, logloss")
    ] = None,
) -> None:
    """Print a finished run: methods, markets, how sure the differences are, rounds and bytes. Writes its page anew."""
    from fedrec.simulation.run_page import write_page

    summary = RunFolder.open(path).read_summary()
    known = sorted({name for metrics in summary["mean"].values() for name in metrics})
    metric = metric or headline_metric(summary)
    if known and metric not in known:
        raise UserError(f"--metric {metric!r}: {path} has {', '.join(known)}")
    console = Console(markup=False)
    print_results(console, summary, metric)
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
    lines.append(f"left the markets: {up:.2f} MB, came to them: {down:.2f} MB (item by item: {ledger_place(path)})")
    lines.append(
        f"recipe {summary['recipe']}, engine {summary['engine']}, device {summary['device']}, "
        f"{summary['seconds']['total']:.0f} s, peak memory {summary['peak_rss_mb']:.0f} MB"
    )
    print_lines(console, [*lines, f"as a page, with figures: {write_page(path)}"])


def print_results(console: Console, summary: dict[str, Any], metric: str) -> None:
    """Every method in every market, as a table."""
    if not summary["mean"]:
        console.print(
            "no figures of users left the markets; each has its own in markets/*/report.json", highlight=False
        )
        return
    header, rows = results_table(summary, metric)
    title = f"{metric.upper()} per market, protocol {summary['protocol']}, seed {summary['seed']}"
    notes = [_NOTE] if "gain" in header else []
    notes += [_OUTSIDE_NOTE] if "outside" in header else []
    print_table(console, title, header, rows, "; ".join(notes))
    if kept_untrained(summary):
        console.print(f"nothing was won by averaging: validation kept {first_model(summary)}", highlight=False)
    if summary["decided_by"] is not None:
        console.print(
            f"one market decided which round was kept: {summary['decided_by']} (its validation figures)",
            highlight=False,
            markup=False,
        )


def ledger_place(run: Path) -> str:
    """Where it is written what left the markets: on one machine in the run, else on each market's own host."""
    path = run / "ledger.jsonl"
    return str(path) if path.is_file() else f"on each market's host, fedrec ledger STATE/{run.name}"
