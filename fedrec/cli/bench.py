"""``fedrec bench``: published tables beside our own figures."""

import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.cli.status import status_line
from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.offline import go_offline
from fedrec.report.tables import print_lines, print_table

_RENAMED = {"floors": "baselines", "floors-own": "baselines-own"}

app = typer.Typer(help="Measure published tables again.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keep ``bench`` a group, however few tables it has."""


@app.command()
def table3(
    data: Annotated[Path | None, typer.Option(help="data folder with the seven markets of XMarket electronics")] = None,
    models: Annotated[str | None, typer.Option(help="comma separated; default: all. --models list prints them")] = None,
    markets: Annotated[str | None, typer.Option(help="comma separated: whose figures; all are trained on")] = None,
    splits: Annotated[str | None, typer.Option(help="comma separated seeds of the splits; default: 0,1,2,3,4")] = None,
    out: Annotated[Path, typer.Option(help="folder of rows.csv (resumed), table.csv and table.md")] = Path("table3"),
    stamp: Annotated[str, typer.Option(help="written into every new row, such as a commit")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="JP and IN on one split")] = False,
) -> None:
    """ACMR's Table 3 (Information Systems 2024): published, ours, difference; baselines above, federations below."""
    go_offline()  # before Flower is imported
    from fedrec.report.table3 import table3_csv, table3_lines, table3_markdown
    from fedrec.simulation.table3 import ENTRIES, QUICK, bench

    if models == "list":
        print_lines(Console(markup=False), [f"{name:16s}{', '.join(entry.models)}" for name, entry in ENTRIES.items()])
        return
    entries = list(ENTRIES) if models is None else [_of_today(name) for name in models.split(",")]
    for name in entries:
        if name not in ENTRIES:
            raise UserError(f"--models {name!r}: unknown; known: {', '.join(ENTRIES)}")
    if data is None:
        raise UserError("--data: name a folder that `fedrec data import xmarket-5core SRC DIR` made")
    if quick and (markets or splits):
        raise UserError("--quick: is --markets in,jp --splits 0; leave out those two, or it")
    numbers = [0] if quick else [_number(text) for text in (splits or "0,1,2,3,4").split(",")]
    chosen = list(QUICK) if quick else None if markets is None else markets.split(",")
    console = Console(markup=False)
    rows: list[dict[str, str]] = []
    with status_line() as (progress, details):
        for rows in bench(data, entries, chosen, numbers, out / "rows.csv", stamp, progress, details):
            write_atomic(out / "table.csv", table3_csv(rows).encode())
            write_atomic(out / "table.md", table3_markdown(rows).encode())
    header, lines = table3_lines(rows)
    note = "NDCG@10, mean over splits; published: means of five splits over seven markets. All metrics: "
    print_table(console, "Table 3 of ACMR, protocol acmr", header, lines, f"{note}{out}/table.md, {out}/table.csv")


def _of_today(name: str) -> str:
    """An entry's name; those of the version before are read until the next one."""
    new = _RENAMED.get(name, name)
    if new != name:
        warnings.warn(f"--models {name} is called {new} now; the old name goes with the next version", FutureWarning, 3)
    return new


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"--splits {text!r}: write numbers with commas between them, such as 0,1,2")
    return int(text)
