"""What a ranker is trained to find: the last train item of every user, with all that was known before it."""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.sequences import DAY, Sequences
from fedrec.data.splits import OUTSIDE, Holdout
from fedrec.exchange.statistics import Events


def pseudo_holdout(train: Sequences, baskets: bool) -> Holdout:
    """The last train item of every user (or where ``baskets``, all of their last day) hidden from train itself.

    Users without an item before it are left out. What is ranked is what is left of train, whoever has it.
    """
    hidden = _last_rows(train, baskets)  # [N]
    past = _rows(train, ~hidden)
    chosen = np.flatnonzero(past.lengths)  # [U]
    found = np.flatnonzero(hidden & (past.lengths[train.users] > 0))  # [T]
    catalogue = past.item_counts() > 0
    items = train.items[found]
    return Holdout(
        users=chosen,
        histories=past.take(chosen),
        rows=np.searchsorted(chosen, train.users[found]),
        targets=np.where(catalogue[items], items, OUTSIDE),
        known=past.take(chosen),
        catalogue=catalogue,
    )


def _last_rows(train: Sequences, baskets: bool) -> NDArray[np.bool_]:
    last = np.zeros(len(train.items), dtype=bool)
    last[train.offsets[1:][train.lengths > 0] - 1] = True
    if not baskets:
        return last
    days, ends = days_of(train), np.zeros(len(train), np.int64)
    ends[train.lengths > 0] = days[last]
    return np.asarray(days == ends[train.users])


def _rows(sequences: Sequences, there: NDArray[np.bool_]) -> Sequences:
    counts = np.bincount(sequences.users[there], minlength=len(sequences))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Sequences(offsets, sequences.items[there], sequences.times[there], sequences.item_count)


def days_of(sequences: Sequences) -> NDArray[np.int64]:
    """Days since 1970 of every interaction, [N]."""
    return sequences.times // int(DAY)


def events_of(sequences: Sequences) -> Events:
    """Histories as statistics count them."""
    return Events(sequences.users, sequences.items, days_of(sequences), sequences.item_count)
