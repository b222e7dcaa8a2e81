"""Protocols against a derivation in plain Python."""

from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.sequences import Sequences
from fedrec.data.splits import split_market
from fedrec.data.store import open_store, open_stores
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.recipe import EvaluationSettings

Rows = list[tuple[str, str, int]]


def by_hand(rows: Rows, families: dict[str, str] | None) -> dict[str, list[str]]:
    """Stable sort by time; families replaced; the earliest of every user and family; three or more."""
    histories: dict[str, list[str]] = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        name = (families or {}).get(item, item)
        if name not in histories[user]:
            histories[user].append(name)
    return {user: items for user, items in histories.items() if len(items) >= 3}


def store(path: Path, rows: Rows, families: dict[str, str] | None = None) -> Path:
    frame = pl.DataFrame(
        [(user, item, 1_500_000_000 + time * 86400, 5.0) for user, item, time in rows],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    write_store(path, "jp", frame, source="test", time_resolution="day", families=families)
    return path


def under(protocol: str, **changes: object) -> EvaluationSettings:
    return EvaluationSettings.model_validate({"protocol": protocol, **changes})


def listed(sequences: Sequences, items: list[str]) -> list[list[str]]:
    """Histories as lists of keys."""
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [[items[item] for item in sequences.items[start:end]] for start, end in bounds]


def histories(path: Path, protocol: str) -> dict[str, list[str]]:
    """What is known at the test, and what is to be found there."""
    split = split_market(open_store(path), under(protocol, catalogue="all"))
    known = listed(split.test.histories, split.items)
    targets = [split.items[item] for item in split.test.targets]
    names = [split.users[user] for user in split.test.users]
    return {user: [*items, target] for user, items, target in zip(names, known, targets, strict=True)}


rows_strategy = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(rows=rows_strategy, family=st.booleans())
def test_split_equals_the_protocol_by_hand(tmp_path_factory: pytest.TempPathFactory, rows: Rows, family: bool) -> None:
    """Dates tie often here: order within a day must be the file's."""
    families = {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "f": "f"} if family else None
    path = store(tmp_path_factory.mktemp("store") / "jp", rows, families)
    protocol = "family" if family else "temporal"
    expected = by_hand(rows, families)
    if expected:
        assert histories(path, protocol) == expected
    else:
        with pytest.raises(UserError, match="no user has 3 items"):
            split_market(open_store(path), under(protocol))


def test_an_empty_split_names_its_cause(tmp_path: Path) -> None:
    opened = open_store(store(tmp_path / "jp", [("u", item, day) for day, item in enumerate("abcd")]))
    with pytest.raises(UserError, match=r"data\.user_share 0\.01"):
        split_market(opened, under("temporal"), user_share=0.01)
    settings = EvaluationSettings(protocol="global-time", cut_date=date(2050, 1, 1))
    with pytest.raises(UserError, match=r"evaluation\.cut_date 2050-01-01"):
        split_market(opened, settings)


def test_holdouts_are_the_last_two(tmp_path: Path) -> None:
    path = store(tmp_path / "jp", [("u", item, day) for day, item in enumerate("abcd")])
    split = split_market(open_store(path), under("temporal", catalogue="all"))
    validation, test = split.validation, split.test
    assert [split.items[i] for i in split.train.items] == ["a", "b"]
    assert [split.items[i] for i in validation.histories.items] == ["a", "b"]
    assert [split.items[i] for i in validation.targets] == ["c"]
    assert [split.items[i] for i in test.histories.items] == ["a", "b", "c"]
    assert [split.items[i] for i in test.targets] == ["d"]


def test_family_without_a_map_says_what_to_do(tmp_path: Path) -> None:
    path = store(tmp_path / "jp", [("u", item, 0) for item in "abc"])
    with pytest.raises(UserError, match="fedrec data families"):
        split_market(open_store(path), under("family"))


def test_recency_weights_halve_with_age() -> None:
    """Half-life two days: an item four days before the last weighs a quarter."""
    day = 86400
    sequences = Sequences(np.array([0, 2]), np.array([1, 0]), np.array([0, 4 * day]), 2)
    assert sequences.matrix(half_life_days=2).toarray().tolist() == [[1.0, 0.25]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_taking_ragged_rows(lengths: list[int], random: object) -> None:
    """The same on Python lists."""
    rows = [[(user * 7 + index) % 10 for index in range(length)] for user, length in enumerate(lengths)]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = np.array([item for row in rows for item in row], dtype=np.int64)
    sequences = Sequences(offsets, flat, flat, 10)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    taken = sequences.take(np.array(order))
    found = [taken.items[taken.offsets[i] : taken.offsets[i + 1]].tolist() for i in range(len(rows))]
    assert found == [rows[i] for i in order]


def test_the_real_protocol_sizes(xmarket: Path) -> None:
    """methods.md section 4, row `family`: users / items."""
    sizes = {}
    for one in open_stores(xmarket):
        split = split_market(one, under("family", catalogue="all"))
        sizes[one.name] = (len(split.test), len(split.items))
    assert sizes == {
        "de": (1792, 1936), "jp": (478, 849), "in": (156, 423), "fr": (1774, 1674),
        "ca": (4534, 5452), "mx": (1218, 1468), "uk": (3003, 2989),
    }  # fmt: skip
