"""What one history adds to statistics, counted in a small space, against counting in the whole one."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.attacks.known_item import given_away, left_over
from fedrec.data.sequences import DAY, Sequences
from fedrec.exchange.statistics import GAPS, MONTH_DAYS, count_statistics
from fedrec.simulation.attacks.by_statistics import _joined, cells_of, found_in
from fedrec.training.ranker.holdouts import events_of

DAYS = [[0, 0, 3, 40], [10], [5, 5, 6, 200, 900, 901], [1, 2]]
ITEMS = [[7, 2, 7, 9], [4], [0, 11, 3, 0, 5, 2], [9, 7]]


@pytest.fixture
def histories() -> Sequences:
    offsets = np.cumsum([0, *map(len, ITEMS)]).astype(np.int64)
    times = np.concatenate(DAYS).astype(np.int64) * int(DAY)
    return Sequences(offsets, np.concatenate(ITEMS).astype(np.int64), times, 12)


def test_cells_of_one_history_are_those_of_the_whole_space(histories: Sequences) -> None:
    for user, found in enumerate(cells_of(histories)):
        keys, _ = count_statistics(events_of(histories.take(np.array([user]))), 1).cells()
        assert sorted(found.tolist()) == sorted(_joined(keys).tolist())


def test_everybody_is_found_in_exact_counts_and_only_there(histories: Sequences) -> None:
    own = cells_of(histories)
    assert found_in(own, count_statistics(events_of(histories), 1)).tolist() == [1, 1, 1, 1]
    assert found_in(own, count_statistics(events_of(histories), 3)).tolist() == [0, 0, 0, 0]
    others = count_statistics(events_of(histories.take(np.array([0, 1]))), 1)
    scores = found_in(own, others)
    assert scores[:2].tolist() == [1, 1]
    assert 0 < scores[3] < 1  # has two items of the first user, in the other order
    assert scores[2] < scores[3]


def test_what_one_known_item_gives_away(histories: Sequences) -> None:
    """Item 4 is had by one user alone and with no other; 0 by one who has others; 7 and 9 by the same two."""
    away = given_away(count_statistics(events_of(histories), 1))
    assert not away.item[4]
    assert away.month[4]
    assert away.item[0]
    assert away.items[0] == 4  # 11, 3, 5 and 2
    assert away.item[7]
    assert away.item[9]
    assert not given_away(count_statistics(events_of(histories), 3)).item.any()


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 800)), max_size=6), min_size=1, max_size=8))
def test_what_kinds_leave_of_each_other_is_counted_by_hand(rows: list[list[tuple[int, int]]]) -> None:
    """With counts of two and more: users of a told pair or item whose own gap or month is not told."""
    users = [sorted(dict(user).items(), key=lambda one: one[1]) for user in rows]
    offsets = np.cumsum([0, *map(len, users)]).astype(np.int64)
    whole = [one for user in users for one in user]
    items, days = (np.array([one[part] for one in whole], np.int64) for part in (0, 1))
    told = count_statistics(events_of(Sequences(offsets, items, days * int(DAY), 6)), 2)
    gaps: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    months: dict[int, Counter[int]] = {}
    for user in users:
        for item, day in user:
            months.setdefault(item, Counter())[day // MONTH_DAYS] += 1
        for (one, early), (other, late) in itertools.combinations(user, 2):
            bucket = int(np.searchsorted(GAPS, late - early))  # 0: on one day; 5: longer than any that is told
            direction = 0 if bucket in {0, 5} else int(one < other)
            gaps.setdefault((min(one, other), max(one, other)), Counter())[bucket, direction] += 1
    left = [
        gaps[pair].total() - sum(count for (bucket, _), count in gaps[pair].items() if bucket < 5 and count > 1)
        for pair in sorted(gaps)
        if gaps[pair].total() > 1
    ]
    found = left_over(told)
    assert sorted(found.pairs.tolist()) == sorted(left)
    of_items = [
        counts.total() - sum(count for count in counts.values() if count > 1)
        for _, counts in sorted(months.items())
        if counts.total() > 1 and max(counts.values()) > 1
    ]
    assert found.months.tolist() == of_items
