"""``fedrec compare``: runs side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.errors import UserError
from fedrec.report.comparison import compare as compare_runs
from fedrec.report.tables import print_lines, print_table


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of finished runs; seeds are grouped")],
    metric: Annotated[str | None, typer.Option(help="default: ndcg@10, or auc of click-through runs")] = None,
    method: Annotated[str | None, typer.Option(help="default: each run's headline, federated or fedease")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for a page, figures and CSV")] = None,
) -> None:
    """Compare runs over seeds: means, paired tests with Holm's correction, recipe keys that differ, costs."""
    from fedrec.report.comparison_page import HOW, answer, difference_lines, key_lines, results_lines, write_comparison

    if out is not None and out.exists() and not (out / "comparison.csv").is_file() and any(out.iterdir()):
        raise UserError(f"--out {out}: not empty, and no comparison; choose another")
    found = compare_runs(runs, metric, method)
    console = Console(markup=False)
    print_table(console, f"{found.metric.upper()}, means over seeds", *results_lines(found))
    header, rows = difference_lines(found)
    if rows:
        print_table(console, "Differences", header, rows, HOW)
    header, rows = key_lines(found)
    if rows:
        print_table(console, "What differs between the recipes", header, rows)
    lines = [answer(found)]
    if out is not None:
        lines.append(f"as a page, with figures: {write_comparison(out, found)}")
    print_lines(console, lines)
