"""``fedrec data``: import, describe, families, synth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.report.tables import print_table

app = typer.Typer(help="Import, describe and make market data.", no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="format of the source: csv, parquet, online-retail, xmarket-5core")],
    source: Annotated[Path, typer.Argument(help="source file; xmarket-5core: folder of the source files")],
    directory: Annotated[Path, typer.Argument(help="new data folder")],
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="ROLE=COLUMN; roles: user, item, time, value, title, brand, category, market"),
    ] = None,
    market: Annotated[str | None, typer.Option(help="name of the one market, where no column says it")] = None,
    time_format: Annotated[str | None, typer.Option(help="of times, such as %d/%m/%Y; default: ISO 8601")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="such as Asia/Tokyo: of times without an offset, and of days")
    ] = None,
    separator: Annotated[str, typer.Option(help="between the columns of a CSV file; tab for a tabulator")] = ",",
    merge: Annotated[list[str] | None, typer.Option(help="NAME=MARKET,MARKET,...: markets that become one")] = None,
    min_users: Annotated[int, typer.Option(help="markets with fewer users are left out")] = 1,
    least_users: Annotated[int | None, typer.Option(hidden=True)] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="CSV with column item (and title, brand, category, market): all that is sold; private runs need it"
        ),
    ] = None,
) -> None:
    """Validate a data set once and write one market store per market."""
    from fedrec.data.importers import run_import
    from fedrec.data.importers.options import ImportOptions, parse_columns, parse_merge
    from fedrec.data.importers.times import check_zone

    if least_users is not None:
        typer.echo("--least-users is called --min-users now; the old name goes with the next version", err=True)
        min_users = max(min_users, least_users)
    options = ImportOptions(
        columns=parse_columns(columns or []),
        market=market,
        time_format=time_format,
        timezone=None if timezone is None else check_zone(timezone),
        separator=separator,
        merge=parse_merge(merge or []),
        min_users=min_users,
        items=items,
    )
    report = run_import(kind, source, directory, options)
    for note in report.notes:
        typer.echo(note)
    typer.echo(f"{len(report.markets)} markets in {directory}: {', '.join(report.markets)}")


@app.command()
def describe(directory: Annotated[Path, typer.Argument(help="data folder")]) -> None:
    """Users, items, interactions, repeats and ties per market, and the items that markets share."""
    from fedrec.data.describe import describe_market, shared_items
    from fedrec.data.store import open_stores

    stores = open_stores(directory)
    console = Console(markup=False)
    rows = [
        [
            row.market,
            str(row.users),
            str(row.items),
            str(row.interactions),
            f"{row.mean_length:.1f}",
            f"{row.repeats:.1%}",
            f"{row.same_time:.1%}",
            row.resolution,
            *(day.isoformat() for day in (row.first, row.most, row.last)),
        ]
        for row in map(describe_market, stores)
    ]
    header = ["market", "users", "items", "interactions", "mean length", "repeats", "same time", "resolution"]
    header += ["first", "80 % by", "last"]
    print_table(console, f"{len(stores)} markets in {directory}", header, rows)
    matrix, union = shared_items(stores)
    names = [store.name for store in stores]
    shared = [[name, *map(str, counts)] for name, counts in zip(names, matrix, strict=True)]
    print_table(console, f"items in common ({union} in the union)", ["market", *names], shared)


@app.command()
def families(directory: Annotated[Path, typer.Argument(help="data folder")]) -> None:
    """Find variants of one product and write families.csv into every market store."""
    from fedrec.data.families import FamilyMap, write_own_families
    from fedrec.data.store import open_stores

    stores = open_stores(directory)
    before = sum(store.families is not None for store in stores)
    replaced = f"; it replaces the map of {before}" if before else ""
    maps = write_own_families(stores)
    found = FamilyMap({item: family for own in maps.values() for item, family in own.items()})
    typer.echo(f"{len(found.families)} items in {found.count} families; {len(found.sizes)} families have several items")
    if found.sizes:
        typer.echo(f"largest family: {found.sizes[0]} items; in families of several: {sum(found.sizes)} items")
    typer.echo(f"families.csv written into {len(stores)} market stores of {directory}{replaced}")


@app.command()
def synth(
    directory: Annotated[Path, typer.Argument(help="new data folder")],
    markets: Annotated[str, typer.Option(help="names, separated by commas")] = "alfa,bravo,charlie,delta,echo",
    users: Annotated[int, typer.Option(help="users of the largest market")] = 600,
    items: Annotated[int, typer.Option(help="items of the universe")] = 600,
    topics: Annotated[int, typer.Option(help="kinds of items")] = 30,
    length: Annotated[float, typer.Option(help="mean interactions per user")] = 9.0,
    overlap: Annotated[float, typer.Option(help="share of the items that every market stocks")] = 0.3,
    heterogeneity: Annotated[float, typer.Option(help="share of a market's behaviour that is its own")] = 0.2,
    skew: Annotated[float, typer.Option(help="size of each next market relative to the one before")] = 0.6,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 0,
) -> None:
    """Make synthetic markets with shared behaviour on which collaboration has something to find."""
    from fedrec.data.synth import SynthSettings, write_synthetic_markets

    names = tuple(name.strip() for name in markets.split(","))
    settings = SynthSettings(names, users, items, topics, length, overlap, heterogeneity, skew, seed)
    write_synthetic_markets(directory, settings)
    typer.echo(f"{len(names)} markets in {directory}: {', '.join(names)}")
