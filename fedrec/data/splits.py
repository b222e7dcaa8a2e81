"""Protocols: how a market's interactions become train, validation and test.

``temporal``: repeated (user, item) pairs are dropped (the first row is kept), rows are sorted by time with a stable
sort, so ties keep the source's order; a user's last item is the test, the one before it the validation; users under
three items are skipped. ``family``: the same, with items then replaced by their family and a user's first
interaction per family kept. Both rank the whole catalogue. Why ties must not be sorted by id, and what the numbers
become if they are: ``docs/protocols.md``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedrec.data.columns import Columns
from fedrec.data.sequences import Sequences
from fedrec.data.store import MarketStore
from fedrec.errors import UserError

Stage = Literal["validation", "test"]
HELD_OUT = 2  # the last two interactions of every user


@dataclass(frozen=True)
class Holdout:
    """What is known of each user at one stage, and the item to be found."""

    histories: Sequences  # U histories
    targets: NDArray[np.int64]  # [U]


@dataclass(frozen=True)
class Split:
    """One market under one protocol. Users with at least three items; the catalogue holds every item of the market."""

    protocol: str
    users: list[str]  # [U], private
    items: list[str]  # [I], sorted keys
    full: Sequences

    @property
    def train(self) -> Sequences:
        """All but the last two interactions of every user."""
        return self.full.truncated(HELD_OUT)

    def holdout(self, stage: Stage) -> Holdout:
        """Validation: train history, last-but-one item. Test: train and validation history, last item."""
        drop = 2 if stage == "validation" else 1
        return Holdout(self.full.truncated(drop), self.full.items[self.full.offsets[1:] - drop])


def split_market(store: MarketStore, protocol: str) -> Split:
    """Split one market; raises :class:`UserError` when no user is left or the family map is missing."""
    frame = store.interactions.select(Columns.USER, Columns.ITEM, Columns.TIMESTAMP)
    pair = [Columns.USER, Columns.ITEM]
    frame = frame.unique(pair, keep="first", maintain_order=True)
    frame = frame.sort(Columns.TIMESTAMP, maintain_order=True)
    if protocol == "family":
        if store.families is None:
            raise UserError(
                f"{store.path}: protocol 'family' needs families.csv; run `fedrec data families "
                f"{store.path.parent}` or set evaluation.protocol=temporal"
            )
        families = pl.DataFrame(
            {Columns.ITEM: list(store.families), Columns.FAMILY: list(store.families.values())},
            schema={Columns.ITEM: pl.String, Columns.FAMILY: pl.String},
        )
        frame = frame.join(families, on=Columns.ITEM, how="left", maintain_order="left").with_columns(
            pl.coalesce(Columns.FAMILY, Columns.ITEM).alias(Columns.ITEM)
        )
        frame = frame.unique(pair, keep="first", maintain_order=True)
    elif protocol != "temporal":
        raise UserError(f"evaluation.protocol {protocol!r} is unknown; known: family, temporal")
    items = frame[Columns.ITEM].unique().sort()
    frame = frame.filter(pl.len().over(Columns.USER) > HELD_OUT)
    if frame.is_empty():
        raise UserError(
            f"{store.path}: no user has {HELD_OUT + 1} items under protocol {protocol!r}; "
            "leave this market out with data.markets"
        )
    users = frame[Columns.USER].unique().sort()
    row = users.search_sorted(frame[Columns.USER]).to_numpy()
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))]).astype(np.int64)
    return Split(
        protocol=protocol,
        users=users.to_list(),
        items=items.to_list(),
        full=Sequences(
            offsets=offsets,
            items=items.search_sorted(frame[Columns.ITEM]).to_numpy().astype(np.int64)[order],
            times=frame[Columns.TIMESTAMP].to_numpy()[order],
            item_count=len(items),
        ),
    )
