"""One market for click-through prediction, against a derivation in plain Python."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.ctr import CtrSplit, Instances, split_ctr
from fedrec.data.protocols import LEARN, TEST, TRAIN, VALIDATION, Rows, days_apart
from fedrec.data.store import MarketStore, open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.recipe import CtrSettings, load_recipe
from fedrec.training.prepared import PreparedMarket
from tests.data.test_splits import listed, under

MIDNIGHT = 1_499_990_400  # 2017-07-14 00:00:00 UTC
DAY = 86400
FAMILIES = {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "f": "f"}
LETTER = {TRAIN: "C", LEARN: "L", VALIDATION: "V", TEST: "T"}
# What a user's days are for, by how many there are: the last third of those that are not held out is learned from.
PARTS = [
    "", "C", "CL", "CLT", "CLVT", "CCLVT", "CCCLVT", "CCCCLVT", "CCCCLLVT", "CCCCCLLVT", "CCCCCCLLVT", "CCCCCCLLLVT",
]  # fmt: skip


class Row(NamedTuple):
    user: str
    item: str
    day: int
    second: int
    value: float


class Kept(NamedTuple):
    item: str
    day: int
    part: str
    value: float


def market(path: Path, rows: list[Row], families: dict[str, str] | None = None, name: str = "jp") -> MarketStore:
    frame = pl.DataFrame(
        [(row.user, row.item, MIDNIGHT + row.day * DAY + row.second, row.value) for row in rows],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    write_store(path, name, frame, source="test", time_resolution="second", families=families)
    return open_store(path)


def derived(rows: list[Row], families: dict[str, str] | None) -> dict[str, list[Kept]]:
    """Every user's history by time: of what repeats, item or family, the earliest row; days in parts."""
    histories: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.day, row.second)):
        named = row._replace(item=(families or {}).get(row.item, row.item))
        if named.item not in [earlier.item for earlier in histories[row.user]]:
            histories[row.user].append(named)
    result = {}
    for user, history in histories.items():
        days = sorted({row.day for row in history})
        part = dict(zip(days, PARTS[len(days)], strict=True))
        result[user] = [Kept(row.item, row.day, part[row.day], row.value) for row in history]
    return result


Told = tuple[str, str, float, list[str]]  # user, item, label, the items of earlier days


def told(split: CtrSplit, part: Instances, longest: int = 50) -> list[Told]:
    """Instances in keys; the places of a history that hold nothing are on the left."""
    items, valid = split.histories(part, longest)
    assert items.shape == valid.shape == (len(part), longest)
    assert items.min(initial=0) >= 0
    assert items.max(initial=0) < len(split.items)
    result = []
    for row, (user, item, label) in enumerate(zip(part.users, part.items, part.labels, strict=True)):
        held = int(valid[row].sum())
        assert valid[row].tolist() == [False] * (longest - held) + [True] * held
        history = [split.items[number] for number in items[row, longest - held :]]
        result.append((split.users[user], split.items[item], float(label), history))
    return result


def expected(histories: dict[str, list[Kept]], letter: str, positive: float) -> list[Told]:
    return [
        (
            user,
            kept.item,
            float(kept.value >= positive),
            [earlier.item for earlier in history if earlier.day < kept.day],
        )
        for user, history in sorted(histories.items())
        for kept in history
        if kept.part == letter
    ]


def parts(split: CtrSplit) -> dict[str, Instances]:
    return {"L": split.learn, "V": split.validation, "T": split.test}


DRAWN = st.lists(
    st.builds(
        Row,
        st.sampled_from("uvw"),
        st.sampled_from("abcdef"),
        st.integers(0, 6),
        st.sampled_from([0, 3600, DAY - 1]),
        st.sampled_from([1.0, 3.5, 4.0, 5.0]),
    ),
    min_size=20,
    max_size=60,
)


def by_days(user: str, days: str, values: list[float] | None = None) -> list[Row]:
    """A user with one item a day."""
    return [
        Row(user, item, day, 0, value)
        for day, (item, value) in enumerate(zip(days, values or [5.0] * len(days), strict=True))
    ]


GOOD, BAD = 5.0, 1.0
ENOUGH = by_days("y", "aecf", [GOOD] * 4) + by_days("z", "ecaf", [BAD] * 4) + by_days("p", "g") + by_days("q", "h")
# Mostly with users who see to both labels in every part, and items that nobody else met.
ROWS = st.builds(lambda rows, enough: rows + ENOUGH * enough, DRAWN, st.sampled_from([True, True, True, False]))


# which days are for what


@pytest.mark.parametrize("days", range(1, len(PARTS)))
@pytest.mark.parametrize("each", [1, 3])
def test_what_a_users_days_are_for(days: int, each: int) -> None:
    """A day of several rows stays together; a neighbour's days do not count."""
    times = np.repeat(np.arange(days) * DAY, each) + np.tile(np.arange(each) * 3600, days)
    both = np.concatenate([[0], times, [0, DAY]])  # a user of one day before, one of two behind
    offsets = np.array([0, 1, 1 + len(times), 3 + len(times)])
    labels = days_apart(Rows(offsets, np.arange(len(both)), both, both // 86400))
    assert "".join(LETTER[label] for label in labels) == "C" + "".join(x * each for x in PARTS[days]) + "CL"


def test_a_day_ends_at_midnight_utc() -> None:
    """Two rows a second apart are two days; two rows almost a day apart are one."""
    times = MIDNIGHT + np.array([-1, 0, DAY - 1, DAY])
    labels = days_apart(Rows(np.array([0, 4]), np.arange(4), times, times // 86400))
    assert [LETTER[label] for label in labels] == ["C", "L", "L", "T"]


# ratings


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, family=st.booleans(), positive=st.sampled_from([3.5, 4.0]), longest=st.sampled_from([1, 2, 50]))
def test_ratings_equal_the_derivation(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], family: bool, positive: float, longest: int
) -> None:
    """Rows, parts, labels and histories. A part that is empty, or of one kind of label, is refused."""
    families = FAMILIES if family else None
    histories = derived(rows, families)
    opened = market(tmp_path_factory.mktemp("store") / "jp", rows, families)
    ctr = CtrSettings(task="ratings", positive=positive)
    wanted = {letter: expected(histories, letter, positive) for letter in "LVT"}
    if any(len({label for _, _, label, _ in part}) < 2 for part in wanted.values()):
        with pytest.raises(UserError, match="instances of both kinds|user with enough days"):
            split_ctr(opened, under("ctr"), ctr)
        return
    split = split_ctr(opened, under("ctr"), ctr)
    assert split.users == sorted(histories)
    assert split.items == sorted({kept.item for history in histories.values() for kept in history})
    assert listed(split.rows, split.items) == [[kept.item for kept in histories[user]] for user in split.users]
    assert listed(split.collaborative, split.items) == [
        [kept.item for kept in histories[user] if kept.part == "C"] for user in split.users
    ]
    assert split.rows.item_count == split.collaborative.item_count == len(split.items)
    for letter, part in parts(split).items():
        assert told(split, part) == wanted[letter]
        cut = [(user, item, label, history[-longest:]) for user, item, label, history in wanted[letter]]
        assert told(split, part, longest) == cut


def test_an_empty_part_and_one_kind_of_label_are_different_words(tmp_path: Path) -> None:
    """Three days give no validation. With four, every part needs both kinds: here the test has none that is liked."""
    ratings = CtrSettings(task="ratings")
    short = by_days("u", "abc", [GOOD] * 3) + by_days("v", "abc", [BAD] * 3)
    with pytest.raises(UserError, match="no user with enough days and an item that they do not have for validation"):
        split_ctr(market(tmp_path / "short", short), under("ctr"), ratings)
    one = by_days("u", "abcd", [GOOD, GOOD, GOOD, BAD]) + by_days("v", "abcd", [BAD] * 4)
    with pytest.raises(UserError, match="no instances of both kinds for test"):
        split_ctr(market(tmp_path / "one", one), under("ctr"), ratings)
    both = by_days("u", "abcd", [GOOD] * 4) + by_days("v", "abcd", [BAD] * 4)
    assert split_ctr(market(tmp_path / "both", both), under("ctr"), ratings).test.labels.tolist() == [1, 0]


def test_as_good_as_the_threshold_is_liked(tmp_path: Path) -> None:
    rows = by_days("u", "abcd", [4.0] * 4) + by_days("v", "abcd", [3.999] * 4)
    split = split_ctr(market(tmp_path / "jp", rows), under("ctr"), CtrSettings(task="ratings", positive=4.0))
    assert [part.labels.tolist() for part in parts(split).values()] == [[1, 0]] * 3


def test_a_family_speaks_with_the_row_that_came_first(tmp_path: Path) -> None:
    """``b`` on day 0 is the family's first, its value counts; ``a`` on day 3 is no second test instance."""
    rows = [Row("u", "b", 0, 0, BAD), Row("u", "c", 1, 0, GOOD), Row("u", "e", 2, 0, GOOD), Row("u", "f", 4, 0, GOOD)]
    rows += [Row("u", "a", 3, 0, GOOD), *by_days("v", "ecaf", [BAD] * 4)]
    split = split_ctr(market(tmp_path / "jp", rows, FAMILIES), under("ctr"), CtrSettings(task="ratings"))
    assert split.items == ["a", "c", "e", "f"]
    assert told(split, split.test) == [("u", "f", 1, ["a", "c", "e"]), ("v", "f", 0, ["e", "c", "a"])]


# sampled


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, negatives=st.integers(1, 4), seed=st.integers(0, 100))
def test_sampled_negatives_equal_their_rules(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], negatives: int, seed: int
) -> None:
    """One positive and then its negatives, with its history: items that others met before the holdout, and that this
    user has not met up to the part, though perhaps later. Who has met every one of them makes no instance. A
    positive is such an item too: one that nobody met before could be told by that from every negative."""
    histories = derived(rows, None)
    opened = market(tmp_path_factory.mktemp("store") / "jp", rows)
    ctr = CtrSettings(task="sampled", negatives=negatives)
    sells = {kept.item for history in histories.values() for kept in history if kept.part in "CL"}
    allowed = {
        (user, letter): sells - {kept.item for kept in history if kept.part in "CLVT"[: "CLVT".index(letter) + 1]}
        for user, history in histories.items()
        for letter in "LVT"
    }
    everyone = {letter: expected(histories, letter, 0.0) for letter in "LVT"}
    sold = {letter: [row for row in part if row[1] in sells] for letter, part in everyone.items()}
    wanted = {letter: [row for row in part if allowed[row[0], letter]] for letter, part in sold.items()}
    if not all(wanted.values()):
        with pytest.raises(UserError):
            split_ctr(opened, under("ctr"), ctr, seed=seed)
        return
    split = split_ctr(opened, under("ctr"), ctr, seed=seed)
    assert split.outside == pytest.approx(1 - len(sold["T"]) / len(everyone["T"]))
    for letter, part in parts(split).items():
        found = told(split, part)
        assert found[:: negatives + 1] == wanted[letter]
        for start in range(0, len(found), negatives + 1):
            user, _, _, history = found[start]
            for other, item, label, past in found[start + 1 : start + 1 + negatives]:
                assert (other, label, past) == (user, 0, history)
                assert item in allowed[user, letter]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), negatives=st.integers(1, 30))
def test_what_is_asked_later_is_not_told_by_what_was_never_a_negative(
    tmp_path_factory: pytest.TempPathFactory, seed: int, negatives: int
) -> None:
    """Other items in validation and test rows: what is learned from stays. In test rows: what chooses stays too."""
    folder = tmp_path_factory.mktemp("stores")
    rows = crowd(12, seed)
    generator = np.random.default_rng(seed)
    ctr = CtrSettings(task="sampled", negatives=negatives)

    def asked(held: str) -> CtrSplit:
        changed = []
        for user in sorted({row.user for row in rows}):
            own = [row for row in rows if row.user == user]
            others = generator.permutation(sorted(set("abcdefghijkl") - {row.item for row in own}))
            for row, part, other in zip(own, PARTS[len(own)], others, strict=True):
                changed.append(row._replace(item=other) if part in held else row)
        return split_ctr(market(folder / f"held-{held}", changed), under("ctr", catalogue="all"), ctr)

    as_it_is, both, last = asked(""), asked("VT"), asked("T")
    assert told(both, both.learn) == told(as_it_is, as_it_is.learn)
    assert told(last, last.validation) == told(as_it_is, as_it_is.validation)
    assert told(last, last.test) != told(as_it_is, as_it_is.test)


def crowd(users: int, seed: int = 0, items: str = "abcdefghijkl") -> list[Row]:
    """Users with six different items on six days."""
    generator = np.random.default_rng(seed)
    return [
        row for user in range(users) for row in by_days(f"u{user:03d}", "".join(generator.permutation(list(items))[:6]))
    ]


def test_negatives_are_drawn_by_popularity(tmp_path: Path) -> None:
    """``x`` is met before the holdout by three users, ``y`` by one, on a day that is learned from, ``z`` on a test day
    only. The users who are asked met all other items, the same for each: of their 3600 negatives 3 / 4 are ``x``,
    with a standard deviation of sqrt(3600 x 3 / 16) = 26."""
    rows = [row for user in range(100) for row in by_days(f"u{user:03d}", "abcdefghi")]
    rows += [Row(f"x{user}", "x", 0, 0, 5.0) for user in range(3)] + by_days("y0", "ay")
    rows += [*by_days("zz", "ab"), Row("zz", "z", 2, 0, 5.0)]
    settings = under("ctr", catalogue="all")  # c to i are held out and sold to nobody before
    split = split_ctr(market(tmp_path / "jp", rows), settings, CtrSettings(task="sampled", negatives=9))
    drawn = Counter(
        item
        for part in parts(split).values()
        for user, item, label, _ in told(split, part)
        if not label and user.startswith("u")
    )
    assert set(drawn) == {"x", "y"}
    total = sum(drawn.values())
    assert total == 100 * 4 * 9
    assert abs(drawn["x"] - 0.75 * total) < 4 * 26


def bytes_of(split: CtrSplit) -> bytes:
    return b"".join(
        array.tobytes() for part in parts(split).values() for array in (part.users, part.items, part.labels, part.ends)
    )


def test_the_seed_and_the_market_decide_the_draws_and_nothing_else(tmp_path: Path) -> None:
    ctr = CtrSettings(task="sampled")
    here, there = (market(tmp_path / name, crowd(8), name=name) for name in ("jp", "de"))
    drawn = [bytes_of(split_ctr(here, under("ctr"), ctr, seed=seed)) for seed in (0, 1, 0, 1)]
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]
    assert bytes_of(split_ctr(there, under("ctr"), ctr, seed=0)) != drawn[0]


def test_parts_draw_their_negatives_apart(tmp_path: Path) -> None:
    """Learning and testing rows of the same users, in the same order: the same draws would be a leak."""
    rows = [row for user in range(40) for row in by_days(f"u{user:03d}", "abcd")]
    rows += [Row(f"x{item}", item, 0, 0, 5.0) for item in "efghijkl"]
    split = split_ctr(market(tmp_path / "jp", rows), under("ctr", catalogue="all"), CtrSettings(task="sampled"))
    assert split.learn.users.tolist() == split.test.users.tolist()
    negative = split.learn.labels == 0
    assert split.learn.items[negative].tolist() != split.test.items[negative].tolist()


def test_runs_of_all_seeds_are_tested_on_the_same_instances(tmp_path: Path) -> None:
    """The recipe's seed decides models, not questions: nor, with half of the users, who is known so far."""
    opened = market(tmp_path / "jp", crowd(20))
    for share in (1.0, 0.5):
        recipes = [
            load_recipe("fedmm", ["evaluation.protocol=ctr", f"data.user_share={share}", f"seed={seed}"])
            for seed in (0, 7)
        ]
        one, other = (PreparedMarket(opened, recipe).ctr for recipe in recipes)
        assert bytes_of(one) == bytes_of(other)
        assert listed(one.collaborative, one.items) == listed(other.collaborative, other.items)


# users who come later


@pytest.mark.parametrize("task", ["ratings", "sampled"])
def test_users_who_come_later_are_tested_and_nothing_else(tmp_path: Path, task: str) -> None:
    """Whoever is known so far has collaborative rows, everybody having a first day."""
    rows = [row._replace(value=float(1 + 4 * (ord(row.item) % 2))) for row in crowd(60)]
    opened = market(tmp_path / "jp", rows)
    ctr = CtrSettings(task=task, negatives=2)
    every, some = (split_ctr(opened, under("ctr"), ctr, user_share=share) for share in (1.0, 0.5))
    known = {user for user, length in zip(some.users, some.collaborative.lengths, strict=True) if length}
    assert 15 < len(known) < 45  # four standard deviations of 3.9 about 30
    assert some.users == every.users
    assert some.items == every.items
    assert listed(some.rows, some.items) == listed(every.rows, every.items)
    for mine, everyones in zip(
        listed(some.collaborative, some.items), listed(every.collaborative, every.items), strict=True
    ):
        assert mine in ([], everyones)

    def asked(split: CtrSplit, part: Instances) -> list[Told]:
        return [one for one in told(split, part) if one[2] or task == "ratings"]

    assert asked(some, some.test) == asked(every, every.test)
    for mine, all_of_them in ((some.learn, every.learn), (some.validation, every.validation)):
        assert asked(some, mine) == [one for one in asked(every, all_of_them) if one[0] in known]
        assert {user for user, *_ in told(some, mine)} == known


def test_what_sells_is_what_known_users_met(tmp_path: Path) -> None:
    """Everyone also met an item that nobody else did, first of all: only that of known users is ever a negative."""
    rows = crowd(30, items="abcdefgh")
    rows = [row._replace(day=row.day + 1) for row in rows]
    rows += [Row(user, f"own-{user}", 0, 0, 5.0) for user in sorted({row.user for row in rows})]
    split = split_ctr(market(tmp_path / "jp", rows), under("ctr"), CtrSettings(task="sampled"), user_share=0.5)
    known = {f"own-{user}" for user, n in zip(split.users, split.collaborative.lengths, strict=True) if n}
    negatives = {item for part in parts(split).values() for _, item, label, _ in told(split, part) if not label}
    assert 0 < len(known) < 30
    assert {item for item in negatives if item.startswith("own-")} <= known
    assert negatives & known


def test_a_share_that_leaves_nobody_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for learn"):
        split_ctr(market(tmp_path / "jp", crowd(6)), under("ctr"), CtrSettings(task="ratings"), user_share=1e-9)


# instances


def instances(size: int) -> Instances:
    numbers = np.arange(size)
    return Instances(numbers, numbers * 2, (numbers % 2).astype(np.float32), numbers * 3)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(0, 20), batch=st.integers(1, 7), shuffled=st.booleans())
def test_batches_hold_every_instance_once(size: int, batch: int, shuffled: bool) -> None:
    """Whole, none larger than asked for, every instance with its own item, label and history."""
    given_ = list(instances(size).batches(batch, np.random.default_rng(1) if shuffled else None))
    assert [len(part) for part in given_] == [batch] * (size // batch) + [size % batch] * bool(size % batch)
    users = [int(user) for part in given_ for user in part.users]
    assert sorted(users) == list(range(size))
    if not shuffled:
        assert users == list(range(size))
    elif size > 5:
        assert users != list(range(size))
    for part in given_:
        assert part.items.tolist() == [2 * user for user in part.users]
        assert part.labels.tolist() == [user % 2 for user in part.users]
        assert part.ends.tolist() == [3 * user for user in part.users]
