"""The rows of one market that a protocol keeps, in the order in which they happened; users and items are numbers."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.data import protocols
from fedrec.data.columns import Columns
from fedrec.data.draws import UserDraws
from fedrec.data.protocols import DAY_SECONDS, Labels, Rows
from fedrec.data.store import MarketStore
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings
from fedrec.seeds import numpy_generator

WITH_FAMILIES = frozenset({"family", "global-time", "ctr"})  # protocols that replace items by their families
_PAIR = [Columns.USER, Columns.ITEM]
_HOLDOUTS = {
    "item": protocols.last_items,
    "untied": protocols.last_untied_items,
    "basket": protocols.last_baskets,
}


@dataclass(frozen=True)
class MarketRows:
    """One market's rows under a protocol, users and items numbered in the order of their keys."""

    users: list[str]  # private
    items: list[str]
    rows: Rows  # an item outside ``items`` is number len(items)
    values: NDArray[np.float64]  # [N]

    def renumbered(self, items: list[str]) -> "MarketRows":
        """The same with other ``items`` (sorted keys) to number by."""
        if items == self.items:
            return self
        place = {item: index for index, item in enumerate(items)}
        numbers = np.array([place.get(item, len(items)) for item in self.items], np.int64)  # [I]
        return replace(self, items=items, rows=replace(self.rows, items=numbers[self.rows.items]))


def read_rows(store: MarketStore, settings: EvaluationSettings, draws: UserDraws) -> MarketRows:
    """The rows a protocol keeps, by user, each user's oldest first, over every item of theirs.

    ``draws`` decide random ties. Where the catalogue is a declared list, rows of other items do not count. Raises
    :class:`UserError` when the family map is missing.
    """
    frame = _clean(store, settings, draws)
    users, items = frame[Columns.USER].unique().sort(), frame[Columns.ITEM].unique().sort()
    row = users.search_sorted(frame[Columns.USER]).to_numpy().astype(np.int64)  # 32 bits would wrap in ``_days``
    order = np.argsort(row, kind="stable")
    local = (frame[Columns.TIMESTAMP] + frame[Columns.UTC_OFFSET]).to_numpy()
    rows = Rows(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))]).astype(np.int64),
        items=items.search_sorted(frame[Columns.ITEM]).to_numpy().astype(np.int64)[order],
        times=frame[Columns.TIMESTAMP].to_numpy()[order],
        days=_days(row[order], local[order] // DAY_SECONDS),
    )
    return MarketRows(users.to_list(), items.to_list(), rows, frame[Columns.VALUE].to_numpy()[order])


def _days(users: NDArray[np.int64], days: NDArray[np.int64]) -> NDArray[np.int64]:
    """The days of rows by user, oldest first, so that none comes twice.

    Where offsets differ within a user's rows, a later moment may have an earlier day: it then counts to the latest day
    that has begun.
    """
    far = 10**7  # more days than calendars have
    return np.maximum.accumulate(users * far + days) - users * far


def label_rows(market: str, rows: Rows, settings: EvaluationSettings, seed: int) -> Labels:
    """What every row is for under the settings; ``seed`` decides the random holdout of ``acmr``."""
    if settings.protocol == "global-time":
        return protocols.before_and_after(rows, _cut(settings), known_only=settings.catalogue == "all")
    if settings.protocol == "acmr":
        return protocols.leave_one_out_at_random(rows, numpy_generator(seed, market, "holdout"))
    if settings.protocol == "ctr":
        return protocols.days_apart(rows)
    return _HOLDOUTS[settings.holdout](rows)


def user_history(
    store: MarketStore, settings: EvaluationSettings, user: str, draws: UserDraws | None = None
) -> tuple[list[str], list[int]]:
    """All items of one user under a protocol, oldest first, with their times; empty for an unknown user.

    ``draws`` decide random ties; default: those of seed 0.
    """
    rows = _clean(store, settings, draws or UserDraws.of_seed(0, store.name)).filter(pl.col(Columns.USER) == user)
    rows = rows.unique(Columns.ITEM, keep="last", maintain_order=True)
    return rows[Columns.ITEM].to_list(), rows[Columns.TIMESTAMP].to_list()


def all_histories(store: MarketStore, settings: EvaluationSettings, draws: UserDraws | None = None) -> pl.DataFrame:
    """What :func:`user_history` has of each user: columns user, item and timestamp."""
    rows = _clean(store, settings, draws or UserDraws.of_seed(0, store.name))
    rows = rows.unique(_PAIR, keep="last", maintain_order=True)
    return rows.select(Columns.USER, Columns.ITEM, Columns.TIMESTAMP)


def declared_items(store: MarketStore, settings: EvaluationSettings) -> list[str]:
    """The list that the market's operator declares: the store's items file, by family where the protocol knows them."""
    return _named(store.catalogue, store, settings)[Columns.ITEM].unique().sort().to_list()


def _clean(store: MarketStore, settings: EvaluationSettings, draws: UserDraws) -> pl.DataFrame:
    """The market's rows, oldest first. Only then are repeats dropped: the first is the earliest in time."""
    frame = store.rows
    if settings.ties == "random":
        frame = _shuffled(frame, draws)
    frame = frame.sort(Columns.TIMESTAMP, maintain_order=True)
    if settings.catalogue == "declared":
        frame = frame.filter(pl.col(Columns.ITEM).is_in(store.catalogue[Columns.ITEM].implode()))
    frame = _named(frame, store, settings)
    if settings.protocol == "acmr":
        return frame
    return frame.unique(_PAIR, keep="first", maintain_order=True)


def _shuffled(frame: pl.DataFrame, draws: UserDraws) -> pl.DataFrame:
    """With each user's rows in an order of that user's own chance."""
    key = np.empty(frame.height)
    numbered = frame.with_row_index("row").group_by(Columns.USER, maintain_order=True).agg("row")
    for user, rows in numbered.iter_rows():
        key[rows] = draws.generator(user, "ties").permutation(len(rows))
    return frame[np.argsort(key, kind="stable")]


def _named(frame: pl.DataFrame, store: MarketStore, settings: EvaluationSettings) -> pl.DataFrame:
    """With items called by their family, where the protocol knows families."""
    if settings.protocol == "family" and store.families is None:
        raise UserError(
            f"{store.path}: protocol 'family' needs families.csv; run `fedrec data families "
            f"{store.path.parent}` or set evaluation.protocol=temporal"
        )
    if settings.protocol not in WITH_FAMILIES or store.families is None:
        return frame
    families = pl.DataFrame(
        {Columns.ITEM: list(store.families), Columns.FAMILY: list(store.families.values())},
        schema={Columns.ITEM: pl.String, Columns.FAMILY: pl.String},
    )
    return frame.join(families, on=Columns.ITEM, how="left", maintain_order="left").with_columns(
        pl.coalesce(Columns.FAMILY, Columns.ITEM).alias(Columns.ITEM)
    )


def _cut(settings: EvaluationSettings) -> int:
    if settings.cut_date is None:
        raise UserError("evaluation.cut_date: protocol global-time needs a date; `fedrec data describe DIR` shows some")
    return int(datetime.combine(settings.cut_date, datetime.min.time(), UTC).timestamp())
