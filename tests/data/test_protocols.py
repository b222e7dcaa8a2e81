"""What trains, validates and tests under every protocol, against a derivation in plain Python."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.catalogue import Vocabulary, own_vocabulary, union_vocabulary
from fedrec.data.market_rows import user_history
from fedrec.data.splits import NEGATIVES, OUTSIDE, Holdout, Split, split_market
from fedrec.data.store import MarketStore, open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings
from tests.data.test_splits import Rows, listed, store, under

DAY_ZERO = date(2017, 7, 14)  # day 0 of `store`: 1 500 000 000 s is 02:40 of that day, UTC
FAMILIES = {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "f": "f"}
ROWS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdef"), st.integers(0, 4)), min_size=16, max_size=50
)

History = list[tuple[str, int]]  # items with their days, oldest first
Known = dict[str, list[str]]
Asked = dict[str, tuple[list[str], list[str | None]]]  # user -> what is known, what is to be found; None: a miss


def ordered(rows: Rows, families: dict[str, str] | None) -> dict[str, History]:
    """Every user's history, stable by day: of what repeats, item or family, the earliest row."""
    result: dict[str, History] = defaultdict(list)
    for user, item, day in sorted(rows, key=lambda row: row[2]):
        name = (families or {}).get(item, item)
        if name not in [earlier for earlier, _ in result[user]]:
            result[user].append((name, day))
    return dict(result)


def of_the_last_steps(histories: dict[str, History], holdout: str) -> tuple[Known, Asked, Asked]:
    """Steps are items, or days: the last is asked at the test, the one before it at validation; three or nothing."""
    train: Known = {}
    validation: Asked = {}
    test: Asked = {}
    for user, history in histories.items():
        steps = [[item] for item, _ in history]
        if holdout == "basket":
            steps = [[item for item, day in history if day == one] for one in sorted({day for _, day in history})]
        if len(steps) < 3:
            continue
        train[user] = [item for step in steps[:-2] for item in step]
        validation[user] = (train[user], steps[-2])
        if holdout != "untied" or history[-1][1] != history[-2][1]:
            test[user] = (train[user] + steps[-2], steps[-1])
    return train, validation, test


def of_a_cut(histories: dict[str, History], cut: int, known_only: bool) -> tuple[Known, Asked, Asked]:
    """Days before ``cut`` are the past; its last item validates where there are three; the next (known) item tests."""
    known = {item for history in histories.values() for item, day in history if day < cut}
    train: Known = {}
    validation: Asked = {}
    test: Asked = {}
    for user, history in histories.items():
        past = [item for item, day in history if day < cut]
        later = [item for item, day in history if day >= cut and (item in known or not known_only)]
        if past:
            train[user] = past[:-1] if len(past) >= 3 else past
        if len(past) >= 3:
            validation[user] = (past[:-1], past[-1:])
        if past and later:
            test[user] = (past, later[:1])
    return train, validation, test


def asked(split: Split, holdout: Holdout) -> Asked:
    """A holdout in keys."""
    targets: dict[int, list[str]] = defaultdict(list)
    for row, item in zip(holdout.rows.tolist(), holdout.targets.tolist(), strict=True):
        targets[row].append(None if item == OUTSIDE else split.items[item])
    known = listed(holdout.histories, split.items)
    names = [split.users[user] for user in holdout.users]
    assert sorted(targets) == list(range(len(names))), "everyone has a target"
    assert (np.diff(holdout.rows) >= 0).all()
    return {name: (known[row], targets[row]) for row, name in enumerate(names)}


def within(found: Asked, catalogue: set[str]) -> Asked:
    """The same where only the items of a catalogue can be found."""
    return {user: (known, [one if one in catalogue else None for one in ask]) for user, (known, ask) in found.items()}


def counted(holdout: Holdout, split: Split) -> list[list[str]]:
    return sorted(listed(holdout.known, split.items))


def cut_at(day: int) -> date:
    """Midnight before the rows of ``day``."""
    return DAY_ZERO + timedelta(days=day)


@settings(max_examples=160, deadline=None)
@given(
    rows=ROWS,
    kind=st.sampled_from(["item", "untied", "basket", "cut"]),
    family=st.booleans(),
    cut=st.integers(1, 4),
    everything=st.booleans(),
)
def test_every_protocol_equals_its_derivation(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, kind: str, family: bool, cut: int, everything: bool
) -> None:
    """Few days and few items: ties, baskets and repeats are the rule. A stage without anyone is refused.

    What may be counted at validation is train, at the test train and validation, of everyone who has any. What is
    ranked there are the items of those rows, or ``everything`` that any row has (before the cut, where there is one).
    """
    catalogue = "all" if everything else "known"
    families = FAMILIES if family else None
    histories = ordered(rows, families)
    if kind == "cut":
        evaluation = under("global-time", cut_date=cut_at(cut), catalogue=catalogue)
        train, validation, test = of_a_cut(histories, cut, known_only=everything)
        seen = {item for history in histories.values() for item, day in history if day < cut}
        before_test = [[item for item, day in history if day < cut] for history in histories.values()]
    else:
        evaluation = under("family" if family else "temporal", holdout=kind, catalogue=catalogue)
        train, validation, test = of_the_last_steps(histories, kind)
        seen = {item for history in histories.values() for item, _ in history}
        before_test = [train[user] + found for user, (_, found) in validation.items()]
    opened = open_store(store(tmp_path_factory.mktemp("store") / "jp", rows, families))
    if not (train and validation and test):
        with pytest.raises(UserError, match="no user has 3|leaves nothing"):
            split_market(opened, evaluation)
        return
    split = split_market(opened, evaluation)
    learned = seen if everything else {item for items in train.values() for item in items}
    known = seen if everything else {item for items in before_test for item in items}
    assert split.items == sorted(known)
    ranked = split.validation.catalogue
    assert {item for item, one in zip(split.items, known if ranked is None else ranked, strict=True) if one} == learned
    assert split.test.catalogue is None
    assert listed(split.train, split.items) == [train[user] for user in sorted(train)]
    assert asked(split, split.validation) == within(validation, learned)
    assert asked(split, split.test) == within(test, known)
    assert counted(split.validation, split) == sorted(train.values())
    assert counted(split.test, split) == sorted(filter(None, before_test))
    assert split.test.candidates is None


def test_what_happens_at_the_cut_is_after_it(tmp_path: Path) -> None:
    """The cut is midnight UTC of its date. A row of that very second is not the past; one a second before is."""
    midnight = 1_499_990_400  # 2017-07-14 00:00:00 UTC
    rows = [("u", "a", -9), ("u", "b", -5), ("u", "c", -1), ("u", "new", 0), ("u", "d", 1), ("v", "d", -1)]
    frame = pl.DataFrame(
        [(user, item, midnight + second, 1.0) for user, item, second in rows],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    write_store(tmp_path / "jp", "jp", frame, source="test", time_resolution="second")
    split = split_market(open_store(tmp_path / "jp"), under("global-time", cut_date=DAY_ZERO, catalogue="all"))
    assert split.items == ["a", "b", "c", "d"]
    assert asked(split, split.validation) == {"u": (["a", "b"], ["c"])}
    assert asked(split, split.test) == {"u": (["a", "b", "c"], ["d"])}
    for holdout in (split.validation, split.test):
        assert max(holdout.histories.times.max(), holdout.known.times.max()) < midnight


def test_a_basket_is_one_users(tmp_path: Path) -> None:
    """Each user's first day is the last day of the one before; ``w`` has three items and two days, so no test."""
    rows = [("u", "a", 0), ("u", "b", 1), ("u", "c", 1), ("u", "d", 2), ("u", "e", 2)]
    rows += [("v", "a", 2), ("v", "b", 3), ("v", "c", 4), ("w", "a", 4), ("w", "b", 4), ("w", "c", 5)]
    split = split_market(open_store(store(tmp_path / "jp", rows)), under("temporal", holdout="basket", catalogue="all"))
    assert listed(split.train, split.items) == [["a"], ["a"]]
    assert asked(split, split.validation) == {"u": (["a"], ["b", "c"]), "v": (["a"], ["b"])}
    assert asked(split, split.test) == {"u": (["a", "b", "c"], ["d", "e"]), "v": (["a", "b"], ["c"])}


def test_whom_a_cut_tests(tmp_path: Path) -> None:
    """Before day 3 the market knows a, b, c and d. Whoever comes later has no past to go by (``late``). An item that
    nobody had is a miss; in the catalogue of everything it is passed over, for the next one that is known (``new``) or
    for none (``only-new``)."""
    rows = [("new", item, day) for day, item in enumerate("abc")] + [("only-new", "d", 0), ("other", "d", 1)]
    rows += [("late", "a", 3), ("late", "b", 4), ("new", "x", 3), ("new", "d", 4), ("only-new", "y", 3)]
    opened = open_store(store(tmp_path / "jp", rows))
    split = split_market(opened, under("global-time", cut_date=cut_at(3)))
    assert asked(split, split.test) == {"new": (["a", "b", "c"], [None]), "only-new": (["d"], [None])}
    split = split_market(opened, under("global-time", cut_date=cut_at(3), catalogue="all"))
    assert asked(split, split.test) == {"new": (["a", "b", "c"], ["d"])}
    assert [split.users[user] for user in split.validation.users] == ["new"]
    assert sorted(listed(split.train, split.items)) == [["a", "b"], ["d"], ["d"]]


def test_global_time_needs_a_date(tmp_path: Path) -> None:
    path = store(tmp_path / "jp", [("u", item, day) for day, item in enumerate("abcd")])
    with pytest.raises(UserError, match="cut_date"):
        split_market(open_store(path), under("global-time"))


@pytest.mark.parametrize("holdout", ["item", "basket"])
def test_a_wider_catalogue_changes_no_key(tmp_path: Path, holdout: str) -> None:
    """The federation's vocabulary renumbers the items."""
    path = store(tmp_path / "jp", [(user, item, day) for user in "uv" for day, item in enumerate("dacb")])
    union = ["0", "a", "b", "c", "d", "zz"]
    own, wide = (
        split_market(open_store(path), under("temporal", holdout=holdout, catalogue=catalogue), 0, vocabulary)
        for catalogue, vocabulary in (("all", None), ("union", Vocabulary(union, union)))
    )
    assert wide.items == ["0", "a", "b", "c", "d", "zz"]
    assert wide.train.item_count == wide.test.histories.item_count == 6
    assert listed(wide.train, wide.items) == listed(own.train, own.items)
    for one, other in ((own.validation, wide.validation), (own.test, wide.test)):
        assert asked(own, one) == asked(wide, other)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, catalogue=st.sampled_from(["known", "union"]), family=st.booleans())
def test_no_catalogue_tells_what_is_held_out(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, catalogue: str, family: bool
) -> None:
    """Whatever the held-out rows are about, what is ranked at their stage is the same.

    Every test item becomes one that nobody else sells; then every validation item does. Another market sells both, so
    a catalogue made by looking at what others sell would let them in.
    """
    settings = under("family" if family else "temporal", catalogue=catalogue)
    families = FAMILIES | {"new": "new", "newer": "newer"} if family else None
    histories = ordered(rows, families)
    if not any(len(history) >= 3 for history in histories.values()):
        return
    folder = tmp_path_factory.mktemp("stores")
    other = store(folder / "other", [("z", item, day) for day, item in enumerate(["new", "newer", "a", "b"])], families)

    def ranked(place: int | None, number: int) -> tuple[set[str], set[str]]:
        changed = [
            (user, "new" if place is not None and index == len(history) + place else item, day)
            for user, history in histories.items()
            for index, (item, day) in enumerate(history)
        ]
        opened = open_store(store(folder / f"jp{number}", changed, families))
        both = [opened, open_store(other)]
        vocabulary = union_vocabulary(both, settings) if catalogue == "union" else None
        split = split_market(opened, settings, vocabulary=vocabulary)
        learned = split.validation.catalogue
        at_validation = {item for index, item in enumerate(split.items) if learned is None or learned[index]}
        return at_validation, set(split.items)

    as_it_is = ranked(None, 0)
    assert ranked(-1, 1) == as_it_is
    assert ranked(-2, 2)[0] == as_it_is[0]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False), kind=st.sampled_from(["temporal", "family", "global-time"]))
def test_the_order_of_rows_with_times_of_their_own_decides_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, order: Random, kind: str
) -> None:
    timed = [(user, item, number) for number, (user, item, _) in enumerate(rows)]  # every moment once
    shuffled = order.sample(timed, len(timed))
    cut = {"cut_date": cut_at(len(rows) // 2)} if kind == "global-time" else {}
    folder, found = tmp_path_factory.mktemp("stores"), []
    for name, own in (("sorted", timed), ("shuffled", shuffled)):
        opened = open_store(store(folder / name, own, FAMILIES))
        try:
            split = split_market(opened, under(kind, **cut))
        except UserError as error:
            found.append(str(error).replace(name, ""))
            continue
        found.append(repr((listed(split.train, split.items), asked(split, split.validation), asked(split, split.test))))
    assert found[0] == found[1]


# ties at random


def crowd(users: int, items: int = 6, days: int = 3) -> Rows:
    """Users who take every item in turn, a few on a day."""
    return [(f"u{user:03d}", f"i{item}", item * days // items) for user in range(users) for item in range(items)]


def test_random_ties_reorder_within_a_day_only(tmp_path: Path) -> None:
    """Days of two items: each pair stays together, in either order, whatever the seed."""
    opened = open_store(store(tmp_path / "jp", crowd(1)))
    for seed in range(10):
        split = split_market(opened, under("temporal", ties="random", catalogue="all"), seed)
        ((known, found),) = asked(split, split.test).values()
        whole = known + found
        assert [set(whole[day : day + 2]) for day in (0, 2, 4)] == [{"i0", "i1"}, {"i2", "i3"}, {"i4", "i5"}]


def test_every_order_of_a_tie_is_as_likely(tmp_path: Path) -> None:
    """300 users with the same three items on their last day: each is the last for about 100.

    The standard deviation is sqrt(300 / 3 * 2 / 3) = 8.2; 35 is four of them.
    """
    rows = [(f"u{user:03d}", item, 0 if item == "a" else 1) for user in range(300) for item in "abcd"]
    split = split_market(open_store(store(tmp_path / "jp", rows)), under("temporal", ties="random"), 5)
    last = Counter(target for _, (target,) in asked(split, split.test).values())
    assert set(last) == {"b", "c", "d"}
    assert all(abs(count - 100) < 35 for count in last.values())


# the legacy protocol

VOCABULARY = [f"i{number:03d}" for number in range(140)]


def everywhere(items: list[str]) -> Vocabulary:
    """The same items at both stages."""
    return Vocabulary(sorted(items), sorted(items))


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000))
def test_acmr_holds_out_two_rows_and_adds_strangers(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, seed: int
) -> None:
    """Repeats are kept, so three rows are enough, of one item if need be.

    Train, validation and test put together are the user's rows; histories stay in order of time; negatives are
    ``NEGATIVES`` different items of the vocabulary, none of which the user ever met.
    """
    history: dict[str, list[str]] = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        history[user].append(item)
    history = {user: items for user, items in history.items() if len(items) >= 3}
    if not history:
        return
    path = store(tmp_path_factory.mktemp("store") / "jp", rows)
    split = split_market(open_store(path), under("acmr"), seed, everywhere([*"abcdef", *VOCABULARY]))
    validation, test = asked(split, split.validation), asked(split, split.test)
    assert set(validation) == set(test) == set(history)
    for user, items in history.items():
        (known, (target,)), (known_later, (target_later,)) = validation[user], test[user]
        assert Counter([*known, target, target_later]) == Counter(items)
        assert Counter([*known, target]) == Counter(known_later)
        left = iter(items)
        assert all(item in left for item in known_later), "a subsequence of the rows in order of time"
    for holdout in (split.validation, split.test):
        assert holdout.candidates is not None
        assert holdout.candidates.shape == (len(history), NEGATIVES)
        for user, sampled in zip(holdout.users, holdout.candidates, strict=True):
            keys = {split.items[item] for item in sampled}
            assert len(keys) == NEGATIVES
            assert not keys & set(history[split.users[user]])


def test_negatives_when_just_enough_are_left(tmp_path: Path) -> None:
    """A user who met 3 of 102 items leaves 99: all of them, in some order. Of 101 there are too few."""
    opened = open_store(store(tmp_path / "jp", [("u", item, 0) for item in ("i000", "i050", "i101")]))
    split = split_market(opened, under("acmr"), 3, everywhere(VOCABULARY[:102]))
    for holdout in (split.validation, split.test):
        assert holdout.candidates is not None
        assert sorted(holdout.candidates[0]) == [item for item in range(102) if item not in (0, 50, 101)]
    short = [*VOCABULARY[:100], "i101"]
    with pytest.raises(UserError, match="99 items that a user never interacted with"):
        split_market(opened, under("acmr"), 3, everywhere(short))


def test_acmr_holds_out_every_row_as_often(tmp_path: Path) -> None:
    """400 users of the same four rows: each row is the test for about 100, the validation likewise.

    The standard deviation is sqrt(400 / 4 * 3 / 4) = 8.7; 38 is more than four of them.
    """
    opened = open_store(store(tmp_path / "jp", crowd(400, items=4, days=4)))
    split = split_market(opened, under("acmr"), 1, everywhere(VOCABULARY + [f"i{item}" for item in range(4)]))
    for holdout in (split.validation, split.test):
        counts = Counter(split.items[item] for item in holdout.targets)
        assert set(counts) == {"i0", "i1", "i2", "i3"}
        assert all(abs(count - 100) < 38 for count in counts.values())


# users who come later


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS,
    seed=st.integers(0, 100),
    evaluation=st.sampled_from(
        [under("temporal"), under("temporal", holdout="basket"), under("global-time", cut_date=cut_at(3))]
    ),
)
def test_users_who_come_later_are_tested_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, seed: int, evaluation: EvaluationSettings
) -> None:
    """Some set of users learns as if all did; the test asks everyone, with the same history, on the same catalogue.

    Everyone's first item is their own, so that a history tells whose it is.
    """
    own = [(user, user.upper(), -1) for user in sorted({user for user, _, _ in rows})]
    opened = open_store(store(tmp_path_factory.mktemp("store") / "jp", own + rows))
    try:
        everyone = split_market(opened, evaluation, seed)
        some = split_market(opened, evaluation, seed, user_share=0.6)
    except UserError:
        return  # nobody to learn from: said, not split
    assert some.items == everyone.items
    assert asked(some, some.test) == asked(everyone, everyone.test)
    learning = {history[0] for history in counted(some.test, some)}
    assert asked(some, some.validation) == {
        user: question for user, question in asked(everyone, everyone.validation).items() if user.upper() in learning
    }
    for mine, all_of_them in (
        (listed(some.train, some.items), listed(everyone.train, everyone.items)),
        (counted(some.validation, some), counted(everyone.validation, everyone)),
        (counted(some.test, some), counted(everyone.test, everyone)),
    ):
        assert mine == [history for history in all_of_them if history[0] in learning]


def members(opened: MarketStore, share: float, seed: int = 0) -> set[str]:
    """Those who validate, under a protocol where everyone with three items does."""
    split = split_market(opened, under("temporal"), seed, user_share=share)
    assert len(split.train) == len(split.validation)
    return set(asked(split, split.validation))


def test_a_larger_share_only_adds_users(tmp_path: Path) -> None:
    """Of 300 users about 30 % and 60 % learn; the standard deviations are 7.9 and 8.5, four of them 32 and 34."""
    opened = open_store(store(tmp_path / "jp", crowd(300, items=3)))
    few, more, all_of_them = (members(opened, share) for share in (0.3, 0.6, 1.0))
    assert few < more < all_of_them
    assert abs(len(few) - 90) < 32
    assert abs(len(more) - 180) < 34
    assert len(all_of_them) == 300


# the seed


@pytest.mark.parametrize(
    ("evaluation", "share"),
    [(under("acmr"), 1.0), (under("temporal", ties="random"), 1.0), (under("temporal"), 0.5)],
    ids=["acmr", "ties", "share"],
)
def test_the_seed_decides_and_nothing_else(tmp_path: Path, evaluation: EvaluationSettings, share: float) -> None:
    opened = open_store(store(tmp_path / "jp", crowd(12)))

    def drawn(seed: int) -> str:
        vocabulary = everywhere(VOCABULARY + [f"i{item}" for item in range(6)])
        split = split_market(opened, evaluation, seed, vocabulary, share)
        stages = [(asked(split, holdout), holdout.candidates) for holdout in (split.validation, split.test)]
        return repr((listed(split.train, split.items), stages))

    assert [drawn(seed) for seed in range(4)] == [drawn(seed) for seed in range(4)]
    assert len({drawn(seed) for seed in range(4)}) == 4


def test_protocols_without_chance_ignore_the_seed(tmp_path: Path) -> None:
    opened = open_store(store(tmp_path / "jp", crowd(12)))
    splits = [split_market(opened, under("temporal", holdout="basket"), seed) for seed in range(3)]
    assert len({repr((asked(split, split.test), listed(split.train, split.items))) for split in splits}) == 1


# catalogue and history of one


@pytest.mark.parametrize(
    "evaluation",
    [under("temporal"), under("family"), under("acmr"), under("global-time", cut_date=cut_at(3))],
    ids=lambda evaluation: evaluation.protocol,
)
def test_own_items_are_the_catalogue_of_the_split(tmp_path: Path, evaluation: EvaluationSettings) -> None:
    """``b`` is of ``a``'s family; ``late`` is first met on day 4, after the cut. Passers-by make it large."""
    rows = [("u", item, day) for day, item in enumerate("acef")] + [("v", "b", 0), ("v", "f", 1), ("v", "late", 4)]
    passers_by = [(f"passer-{item}", item, 0) for item in VOCABULARY]
    opened = open_store(store(tmp_path / "jp", rows + passers_by, FAMILIES))
    assert own_vocabulary(opened, evaluation).items == split_market(opened, evaluation).items


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, protocol=st.sampled_from(["temporal", "family"]))
def test_the_history_of_one_user(tmp_path_factory: pytest.TempPathFactory, rows: Rows, protocol: str) -> None:
    """Every user of the market, those with too few items for a split too."""
    families = FAMILIES if protocol == "family" else None
    opened = open_store(store(tmp_path_factory.mktemp("store") / "jp", rows, families))
    for user, history in ordered(rows, families).items():
        items, times = user_history(opened, under(protocol), user)
        assert list(zip(items, times, strict=True)) == [(item, 1_500_000_000 + day * 86400) for item, day in history]
    assert user_history(opened, under(protocol), "nobody") == ([], [])
