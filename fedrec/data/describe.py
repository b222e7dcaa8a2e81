"""What a data folder holds: one row a market, and how much of their catalogues markets share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore

_HELD = 5_000_000  # rows of which each pair of user and item is held at a time
_SEED = 0


@dataclass(frozen=True)
class MarketDescription:
    """One market as imported."""

    market: str
    users: int
    items: int
    interactions: int
    mean_length: float  # interactions per user
    repeats: float  # share of interactions whose (user, item) pair occurred before
    same_time: float  # share of interactions that share their moment with another of the same user
    resolution: str
    first: date
    most: date  # four fifths of the interactions lie before or on it
    last: date


def describe_market(store: MarketStore) -> MarketDescription:
    """Counts and shares of one market, of which some users' rows are held at a time."""
    rows = store.scan()
    parts = -(-store.count // _HELD)
    user = pl.col(Columns.USER)
    pairs, together = 0, 0
    for part in range(parts):
        some = rows.filter(user.hash(_SEED) % parts == part) if parts > 1 else rows
        moments = some.group_by(user, Columns.TIMESTAMP).len().filter(pl.col("len") > 1)
        pairs += int(_counted(some.select(Columns.USER, Columns.ITEM).unique().select(pl.len())))
        together += int(_counted(moments.select(pl.col("len").sum())))
    clock = pl.from_epoch(pl.col(Columns.TIMESTAMP) + pl.col(Columns.UTC_OFFSET)).dt.date().alias("day")
    days = rows.select(clock).group_by("day").len().collect(engine="streaming").sort("day")
    before = days["len"].cum_sum()
    return MarketDescription(
        market=store.name,
        users=store.users,
        items=store.items,
        interactions=store.count,
        mean_length=store.count / store.users,
        repeats=1 - pairs / store.count,
        same_time=together / store.count,
        resolution=store.time_resolution,
        first=days["day"][0],
        most=days["day"][int((before <= (store.count * 4 - 1) // 5).sum())],
        last=days["day"][-1],
    )


def _counted(one: pl.LazyFrame) -> int:
    return one.collect(engine="streaming").item() or 0


def shared_items(stores: Sequence[MarketStore]) -> tuple[list[list[int]], int]:
    """Items in common of every two markets, [M][M] with a market's own items on the diagonal; and the union."""
    catalogues = [set(store.catalogue[Columns.ITEM]) for store in stores]
    matrix = [[len(first & second) for second in catalogues] for first in catalogues]
    return matrix, len(set().union(*catalogues))
