"""The rows of one market that a protocol keeps, in the order in which they happened; users and items are numbers."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.data import protocols
from fedrec.data.columns import Columns
from fedrec.data.protocols import DAY_SECONDS, Labels, Rows
from fedrec.data.store import MarketStore
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings
from fedrec.seeds import numpy_generator

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


def read_rows(store: MarketStore, settings: EvaluationSettings, seed: int) -> MarketRows:
    """The rows a protocol keeps, by user, each user's oldest first, over every item of theirs.

    ``seed`` decides random ties. Raises :class:`UserError` when the family map is missing.
    """
    frame = _clean(store, settings, seed)
    users, items = frame[Columns.USER].unique().sort(), frame[Columns.ITEM].unique().sort()
    row = users.search_sorted(frame[Columns.USER]).to_numpy()
    order = np.argsort(row, kind="stable")
    local = (frame[Columns.TIMESTAMP] + frame[Columns.UTC_OFFSET]).to_numpy()
    rows = Rows(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))]).astype(np.int64),
        items=items.search_sorted(frame[Columns.ITEM]).to_numpy().astype(np.int64)[order],
        times=frame[Columns.TIMESTAMP].to_numpy()[order],
        days=local[order] // DAY_SECONDS,
    )
    return MarketRows(users.to_list(), items.to_list(), rows, frame[Columns.VALUE].to_numpy()[order])


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
    store: MarketStore, settings: EvaluationSettings, user: str, seed: int = 0
) -> tuple[list[str], list[int]]:
    """All items of one user under a protocol, oldest first, with their times; empty for an unknown user."""
    rows = _clean(store, settings, seed).filter(pl.col(Columns.USER) == user)
    rows = rows.unique(Columns.ITEM, keep="last", maintain_order=True)
    return rows[Columns.ITEM].to_list(), rows[Columns.TIMESTAMP].to_list()


def _clean(store: MarketStore, settings: EvaluationSettings, seed: int) -> pl.DataFrame:
    """The market's rows, oldest first. Only then are repeats dropped: the first is the earliest in time."""
    frame = store.interactions
    if settings.ties == "random":
        order = numpy_generator(seed, store.name, "ties").permutation(frame.height)
        frame = frame[order]
    frame = frame.sort(Columns.TIMESTAMP, maintain_order=True)
    if settings.protocol == "family" and store.families is None:
        raise UserError(
            f"{store.path}: protocol 'family' needs families.csv; run `fedrec data families "
            f"{store.path.parent}` or set evaluation.protocol=temporal"
        )
    if settings.protocol in {"family", "global-time", "ctr"} and store.families is not None:
        families = pl.DataFrame(
            {Columns.ITEM: list(store.families), Columns.FAMILY: list(store.families.values())},
            schema={Columns.ITEM: pl.String, Columns.FAMILY: pl.String},
        )
        frame = frame.join(families, on=Columns.ITEM, how="left", maintain_order="left").with_columns(
            pl.coalesce(Columns.FAMILY, Columns.ITEM).alias(Columns.ITEM)
        )
    if settings.protocol == "acmr":
        return frame
    return frame.unique(_PAIR, keep="first", maintain_order=True)


def _cut(settings: EvaluationSettings) -> int:
    if settings.cut_date is None:
        raise UserError("evaluation.cut_date: protocol global-time needs a date; `fedrec data describe DIR` shows some")
    return int(datetime.combine(settings.cut_date, datetime.min.time(), UTC).timestamp())
