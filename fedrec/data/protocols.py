"""Which interaction trains, which validates, which tests: every protocol is one labelling of a market's rows.

All functions take the rows of one market sorted by user, each user's rows oldest first, and return one label a row.
Why ties in time must keep the source's order: ``docs/protocols.md``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, LEARN, DROPPED = 0, 1, 2, 3, -1
DAY_SECONDS = 86400
MIN_HISTORY = 3  # steps (items, or baskets) a user needs: one to learn from, one to choose by, one to be tested on
Labels = NDArray[np.int8]


@dataclass(frozen=True)
class Rows:
    """Interactions of U users, N rows: ``offsets[u]:offsets[u + 1]`` are user u's, oldest first."""

    offsets: NDArray[np.int64]  # [U + 1]
    items: NDArray[np.int64]  # [N]
    times: NDArray[np.int64]  # [N], seconds
    days: NDArray[np.int64]  # [N], the calendar day where the row was written

    @property
    def users(self) -> NDArray[np.int64]:
        """The user of every row, [N]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def steps_from_the_end(self, start: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows marked ``start`` begin a step: how many steps follow each row's own [N], and its user's steps [U]."""
        number = np.cumsum(start)  # [N], counts on from user to user
        last = number[self.offsets[1:] - 1]  # [U]
        before = np.concatenate([[0], last[:-1]])
        return last[self.users] - number, last - before


def days_begin(rows: Rows) -> NDArray[np.bool_]:
    """Which rows are the first of their user's day, [N]."""
    start = np.ones(len(rows.days), dtype=bool)
    start[1:] = (rows.days[1:] != rows.days[:-1]) | (rows.users[1:] != rows.users[:-1])
    return start


def last_items(rows: Rows) -> Labels:
    """A user's last item is the test, the one before it the validation; users under three items are dropped."""
    return _last_steps(rows, np.ones(len(rows.items), dtype=bool))


def last_untied_items(rows: Rows) -> Labels:
    """As :func:`last_items`, but only users whose last item stands alone in time are tested.

    Training and validation are the same, so the models are too: the rows tell what order within a day decides.
    """
    labels = last_items(rows)
    test = np.flatnonzero(labels == TEST)
    labels[test[rows.times[test] == rows.times[test - 1]]] = DROPPED
    return labels


def last_baskets(rows: Rows) -> Labels:
    """One day is one basket: the last is the test, the one before it the validation; under three, a user is dropped."""
    return _last_steps(rows, days_begin(rows))


def days_apart(rows: Rows) -> Labels:
    """For click-through: what describes items and users (TRAIN) lies before what is predicted.

    A user's last day is the test (of three days or more), the one before it the validation (of four or more). Of the
    days before, the last third (one at least, of two or more) trains the predictors (LEARN), the others the
    collaborative vectors. A day stays together: shops copy one rating to several items on one day.
    """
    following, steps = rows.steps_from_the_end(days_begin(rows))
    steps = steps[rows.users]  # [N]
    held_out = np.where(steps >= 4, 2, np.where(steps == 3, 1, 0))
    position, before = steps - 1 - following, steps - held_out
    learn = np.where(before >= 2, np.maximum(before // 3, 1), 0)
    labels = np.where(position < before - learn, TRAIN, LEARN)
    labels[(following == 0) & (held_out > 0)] = TEST
    labels[(following == 1) & (held_out == 2)] = VALIDATION
    return labels.astype(np.int8)


def before_and_after(rows: Rows, cut: int, known_only: bool) -> Labels:
    """Global time: what lies before ``cut`` (seconds) trains, a user's next item after it is the test.

    The item before the cut validates, for users with three or more there. Users without a past, or without a next
    item, are not tested. ``known_only``: the next item that any user of the market interacted with before the cut.
    """
    past = rows.times < cut
    labels = np.where(past, TRAIN, DROPPED).astype(np.int8)
    before = np.add.reduceat(past.astype(np.int64), rows.offsets[:-1])  # [U]
    last = rows.offsets[:-1] + before - 1
    labels[last[before >= MIN_HISTORY]] = VALIDATION
    askable = np.isin(rows.items, rows.items[past]) if known_only else np.ones(len(past), dtype=bool)
    candidates = np.flatnonzero(~past & askable & (before[rows.users] > 0))
    _, first = np.unique(rows.users[candidates], return_index=True)
    labels[candidates[first]] = TEST
    return labels


def leave_one_out_at_random(rows: Rows, generator: np.random.Generator) -> Labels:
    """Legacy (ACMR): one random interaction of every user is the test, another the validation."""
    order = generator.random(len(rows.items))
    sequence = np.lexsort((order, rows.users))  # each user's rows in random order
    labels = np.empty(len(order), dtype=np.int8)
    labels[sequence] = last_items(rows)  # which looks at nothing but whose the rows are
    return labels


def _last_steps(rows: Rows, start: NDArray[np.bool_]) -> Labels:
    following, steps = rows.steps_from_the_end(start)
    labels = np.where(following == 0, TEST, np.where(following == 1, VALIDATION, TRAIN)).astype(np.int8)
    labels[(steps < MIN_HISTORY)[rows.users]] = DROPPED
    return labels
