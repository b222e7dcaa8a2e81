"""``fedrec recommend``."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.report.tables import print_lines, print_table
from fedrec.words import cleaned

if TYPE_CHECKING:
    import polars as pl


def recommend(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    market: Annotated[str, typer.Option(help="the market")],
    everybody: Annotated[bool, typer.Option("--all", help="all users of the market, into the file --out")] = False,
    out: Annotated[Path | None, typer.Option(help="of --all: a file .parquet or .csv")] = None,
    items: Annotated[
        Path | None, typer.Option(help="of --all: keys of what may be recommended (in stock), a line each")
    ] = None,
    user: Annotated[str | None, typer.Option(help="a user of that market")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(help="item keys, oldest first: an option each, or several as in a line of CSV"),
    ] = None,
    history_file: Annotated[Path | None, typer.Option(help="item keys, oldest first: a line each")] = None,
    count: Annotated[int, typer.Option("-k", help="how many items")] = 10,
    method: Annotated[str | None, typer.Option(help="default: the first of federated, fedease, ... there")] = None,
    data: Annotated[
        Path | None, typer.Option(help="on a market's own host: its store; RUN is then the run in its private state")
    ] = None,
) -> None:
    """Recommend items to a user of a market, to somebody with a given history, or to everybody."""
    from fedrec.data.importers.texts import read_text
    from fedrec.simulation.recommend import Recommender

    given = {"--user": user, "--history": history, "--history-file": history_file}
    alone = {"--out": out, "--items": items}
    _fits_together(everybody, given, alone, out)
    recommender = Recommender.open(path, market, data)
    if everybody and out is not None:
        chosen = None if items is None else [line for line in read_text(items).split("\n") if line]
        frame = recommender.recommend_all(k=count, method=method, items=chosen)
        write_atomic(out, _bytes_of(frame, out.suffix))
        said = f"{frame['user'].n_unique()} users of {market}, {frame.height} rows: {out}"
        print_lines(Console(markup=False), [said])
        return
    keys = recommender.read_history(history or [])
    if history_file is not None:
        keys += [line.strip() for line in read_text(history_file).split("\n") if line.strip()]
    found = recommender.recommend(keys, count, user=user, method=method)
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
    print_lines(console, [f"note: {cleaned(note, 300)}" for note in found.notes])


def _fits_together(everybody: bool, given: Mapping[str, object], alone: Mapping[str, object], out: Path | None) -> None:
    """Raise :class:`UserError` for options of one person beside those of all."""
    wrong = [name for name, value in (given if everybody else alone).items() if value]
    if wrong:
        raise UserError(f"{wrong[0]}: {'is of one person' if everybody else 'goes with --all alone'}; leave it out")
    if everybody and (out is None or out.suffix not in {".parquet", ".csv"}):
        raise UserError(f"--out {out}: --all needs a file that ends with .parquet or .csv")


def _bytes_of(frame: "pl.DataFrame", suffix: str) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer) if suffix == ".parquet" else frame.write_csv(buffer)
    return buffer.getvalue()
