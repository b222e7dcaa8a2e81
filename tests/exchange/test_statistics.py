"""Statistics of histories: against loops over users, held back, over several markets, and from the other side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.exchange.statistics import (
    GAPS,
    MONTH_DAYS,
    NEXT,
    PAIR_KINDS,
    SAME_DAY,
    STEPS,
    TOGETHER,
    WITHIN,
    Events,
    count_statistics,
    read_statistics,
    sum_statistics,
)

ITEMS = 5
histories = st.lists(
    st.lists(st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 900)), min_size=1, max_size=6), max_size=6
)


def events_of(users, items=ITEMS):
    rows = [(user, item, day) for user, rows in enumerate(users) for item, day in sorted(rows, key=lambda row: row[1])]
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Events(*columns, items)


def by_loops(users):
    """{(kind, first, second): users} and {(item, month): users}."""
    pairs, months = {}, {}
    for rows in users:
        seen, sold = set(), set()
        rows = sorted(rows, key=lambda row: row[1])
        for place, (first, day) in enumerate(rows):
            sold.add((first, day // MONTH_DAYS))
            seen.add((TOGETHER, first, first))
            for other, (second, later) in enumerate(rows):
                if first == second:
                    continue
                gap, steps = later - day, other - place
                seen.add((TOGETHER, *sorted((first, second))))
                if gap == 0:
                    seen.add((SAME_DAY, *sorted((first, second))))
                if 0 < steps <= STEPS:
                    seen.add((NEXT, first, second))
                for number, name in enumerate(WITHIN):
                    if GAPS[number] < gap <= GAPS[number + 1]:
                        seen.add((name, first, second))
        for key in seen:
            pairs[key] = pairs.get(key, 0) + 1
        for key in sold:
            months[key] = months.get(key, 0) + 1
    return pairs, months


def named(statistics):
    pairs = {
        (kind, int(i), int(j)): int(count)
        for kind, table in statistics.pairs.items()
        for i, j, count in zip(table.first, table.second, table.count, strict=True)
    }
    monthly = statistics.monthly
    months = {(int(i), int(m)): int(c) for i, m, c in zip(monthly.item, monthly.month, monthly.count, strict=True)}
    return pairs, months


@given(histories, st.integers(1, 3))
def test_counts_are_those_of_loops_over_users_and_small_ones_stay(users, min_count):
    pairs, months = by_loops(users)
    assert named(count_statistics(events_of(users), min_count)) == (
        {key: count for key, count in pairs.items() if count >= min_count},
        {key: count for key, count in months.items() if count >= min_count},
    )


@given(histories, st.lists(st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 900)), min_size=1, max_size=8))
def test_one_user_more_moves_no_count_by_more_than_one(users, one_more):
    before, after = (named(count_statistics(events_of(part), 1)) for part in (users, [*users, one_more]))
    for old, new in zip(before, after, strict=True):
        assert old.keys() <= new.keys()
        assert {new[key] - old.get(key, 0) for key in new} <= {0, 1}


def test_many_users_are_counted_in_blocks(monkeypatch):
    generator = np.random.default_rng(0)
    users = [[(int(i), int(d)) for i, d in generator.integers(0, (ITEMS, 400), (4, 2))] for _ in range(50)]
    whole = named(count_statistics(events_of(users), 1))
    monkeypatch.setattr("fedrec.exchange.statistics._CELLS", 30)
    assert named(count_statistics(events_of(users), 1)) == whole


@given(histories, histories, st.permutations(range(ITEMS)), st.integers(1, 2))
def test_a_market_gets_the_sum_of_the_others_among_its_items(one, two, order, min_count):
    """Through the wire: sum over a union in which the second market's items stand elsewhere, then its own part off."""
    index = {"one": np.arange(ITEMS), "two": np.array(order)}
    sent = {name: count_statistics(events_of(users), min_count) for name, users in (("one", one), ("two", two))}
    came = {name: read_statistics(part.arrays(), ITEMS, min_count, 6) for name, part in sent.items()}
    total = sum_statistics([came[name].placed(index[name], ITEMS) for name in ("one", "two")])
    others = read_statistics(total.restricted(index["two"]).without(came["two"]).arrays(), ITEMS, 1)
    place = {int(union): own for own, union in enumerate(order)}
    renamed = [[(place[item], day) for item, day in rows] for rows in one]
    assert named(others) == named(count_statistics(events_of(renamed), min_count))


def test_a_sum_that_lacks_the_markets_own_part_is_refused():
    nothing, something = (count_statistics(events_of(users), 1) for users in ([], [[(0, 1), (1, 2)]]))
    with pytest.raises(ValueError, match="less than this market's own part"):
        nothing.without(something)


def arrays(**changes):
    result = count_statistics(events_of([[(0, 1), (1, 5)], [(0, 2), (1, 9)]]), 1).arrays()
    return result | {name.replace("__", "."): np.asarray(value) for name, value in changes.items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"monthly__count": np.array([1, 9], np.int32)}, "an item is counted 9 times in a month, of 3 users"),
        ({"monthly__month": np.array([0, -1], np.int32)}, "months that never were"),
        ({"monthly__item": np.array([0, 7], np.int32)}, "outside the catalogue"),
        ({"monthly__item": np.array([0, 0], np.int32)}, "an item and month twice"),
        ({"monthly__item": np.array([0, 1])}, "three one-dimensional int32 arrays"),
        ({"next__second": np.array([0], np.int32)}, "outside the catalogue"),
        ({"together__count": np.array([2, 0, 2], np.int32)}, "below the agreed least"),
        ({"next__count": np.array([3], np.int32)}, "more users of a pair next than have the two items"),
    ],
)
def test_what_cannot_be_statistics_is_refused(changes, said):
    read_statistics(arrays(), ITEMS, 1, 3)
    with pytest.raises(ValueError, match=said):
        read_statistics(arrays(**changes), ITEMS, 1, 3)


def test_every_array_is_declared():
    from fedrec.exchange.declaration import DECLARATIONS, STATISTICS
    from fedrec.exchange.groups import NOTHING

    declared = DECLARATIONS[STATISTICS]
    assert all(declared.allows_array(name, NOTHING) for name in arrays())
    assert len(arrays()) == len(PAIR_KINDS) * 3 + 3
    assert not declared.allows_array("together.users", NOTHING)
