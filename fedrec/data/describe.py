"""What a data folder holds: one row a market, and how much of their catalogues markets share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.store import MarketStore


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
    """Counts and shares of one market."""
    frame = store.rows
    pairs = frame.select(Columns.USER, Columns.ITEM).n_unique()
    days = pl.from_epoch(frame[Columns.TIMESTAMP] + frame[Columns.UTC_OFFSET]).dt.date().sort()
    together = frame.select((pl.len().over(Columns.USER, Columns.TIMESTAMP) > 1).mean()).item()
    return MarketDescription(
        market=store.name,
        users=store.users,
        items=store.items,
        interactions=store.count,
        mean_length=store.count / store.users,
        repeats=1 - pairs / store.count,
        same_time=float(together),
        resolution=store.time_resolution,
        first=days[0],
        most=days[(len(days) * 4 - 1) // 5],
        last=days[-1],
    )


def shared_items(stores: Sequence[MarketStore]) -> tuple[list[list[int]], int]:
    """Items in common of every two markets, [M][M] with a market's own items on the diagonal; and the union."""
    catalogues = [set(store.catalogue[Columns.ITEM]) for store in stores]
    matrix = [[len(first & second) for second in catalogues] for first in catalogues]
    return matrix, len(set().union(*catalogues))
