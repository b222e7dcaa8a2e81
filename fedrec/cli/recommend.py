"""``fedrec recommend``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.report.tables import print_lines, print_table
from fedrec.words import cleaned


def recommend(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    market: Annotated[str, typer.Option(help="the market")],
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
    """Recommend items to a user of a market, or to somebody with a given history."""
    from fedrec.data.importers.texts import read_text
    from fedrec.simulation.recommend import Recommender

    recommender = Recommender.open(path, market, data)
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
