"""Ids as data frames and people write them."""

import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.importers import run_import
from fedrec.data.importers.ids import read_ids
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_store
from fedrec.errors import DataError, UserError


def ids(values: list[Any], dtype: Any = None) -> list[str]:
    column = pl.Series(values, dtype=dtype)
    return read_ids(column, pl.Series(range(len(values))), "t.csv", "user_id")[0].to_list()


def notes(values: list[Any]) -> list[str]:
    column = pl.Series(values)
    return read_ids(column, pl.Series(range(len(values))), "t.csv", "user_id")[1]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=20))
def test_whole_numbers_are_the_same_ids_in_every_type(values: list[int]) -> None:
    """As integers, as the floats that a gap in the column makes of them, as decimals, as texts of any of these."""
    wanted = [str(value) for value in values]
    assert ids(values, pl.Int64) == wanted
    assert ids([float(value) for value in values], pl.Float64) == wanted
    assert ids([Decimal(value) for value in values], pl.Decimal(38, 2)) == wanted
    assert ids([f"{value}.0" for value in values]) == wanted
    assert ids(wanted) == wanted


@given(
    st.integers(2**53, 2**63 - 1), st.sampled_from([float, lambda value: f"{value}.0", lambda value: f"{value:.17e}"])
)
def test_floats_that_may_have_been_another_id_are_refused(value: int, write: Any) -> None:
    """From 2^53 on a float stands for two whole numbers or more."""
    with pytest.raises(DataError, match="row 1: user_id .* too large"):
        ids([write(1), write(value)])


def test_smaller_floats_are_exact_up_to_less() -> None:
    assert ids([2.0**24 - 1], pl.Float32) == [str(2**24 - 1)]
    with pytest.raises(DataError, match="too large"):
        ids([2.0**24], pl.Float32)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_missing_in_a_frame_is_missing(missing: Any) -> None:
    with pytest.raises(DataError, match="row 2: user_id .* is missing"):
        ids([1.0, 2.0, missing], pl.Float64)


@pytest.mark.parametrize("written", [None, "", "  ", "nan", "NaN", "NULL", "null", "None", "NaT", "<NA>", "#N/A"])
def test_what_programs_write_for_nothing_is_missing(written: Any) -> None:
    with pytest.raises(DataError, match="row 1: user_id .* is missing"):
        ids(["u1", written, "u2"])


def test_a_market_may_be_called_what_is_missing_elsewhere(tmp_path: Path) -> None:
    """Namibia is NA; a market's name is asked for by people, not written by a program for a gap."""
    source = tmp_path / "t.csv"
    source.write_text("who,what,when,land\nu,a,2020-01-01,NA\nu,a,2020-01-01,NO\nu,a,2020-01-01,1\n")
    columns = {"user": "who", "item": "what", "time": "when", "market": "land"}
    assert run_import("csv", source, tmp_path / "data", ImportOptions(columns)).markets == ("1", "na", "no")


@pytest.mark.parametrize(("values", "why"), [([1.5, 2.0], "no whole number"), ([float("inf")], "too large")])
def test_other_floats_are_no_ids(values: list[float], why: str) -> None:
    with pytest.raises(DataError, match=why):
        ids(values, pl.Float64)


def test_codes_with_a_point_stay_texts() -> None:
    """``12.50`` is how a shop may call an article; only where all are whole numbers were they floats once."""
    assert ids(["12.50", "3.0"]) == ["12.50", "3.0"]
    assert ids(["7.0", "a7.0"]) == ["7.0", "a7.0"]
    assert ids(["007", "08"]) == ["007", "08"]
    assert notes(["17850.0", "1.7851e4"]) == [
        "user_id: numbers written as floats are taken for whole numbers, such as 17850"
    ]


NAMES = st.text(st.sampled_from("eéaåoö\u0301\u030a\u0308k"), min_size=1, max_size=6)


@given(st.lists(NAMES, min_size=1, max_size=12))
def test_either_form_of_unicode_is_one_id(names: list[str]) -> None:
    composed, decomposed = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    assert ids(decomposed) == ids(composed) == composed
    both = composed + decomposed
    assert len(set(ids(both))) == len(set(composed))
    assert bool(notes(both)) == any(name != unicodedata.normalize("NFC", name) for name in both)


def test_ids_that_became_one_are_counted() -> None:
    (note,) = notes(["Café", "Cafe\u0301", "x"])
    assert note.endswith("; 1 of them became one with another")


@pytest.mark.parametrize("bad", ["a\x1b[31mb", "two\nlines", "t\tb", "\x85x"])
def test_control_characters_are_refused_and_not_printed(bad: str) -> None:
    with pytest.raises(DataError, match="row 1: user_id holds a line break or control character") as error:
        ids(["x", f"q{bad}q"])
    assert str(error.value).isprintable()


@pytest.mark.parametrize("role", ["user", "item", "market"])
def test_true_and_false_are_nobodys_name(role: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "market": ["x"], "time": ["2020-01-01"]})
    frame.with_columns(pl.Series(role, [True])).write_parquet(tmp_path / "t.parquet")
    columns = {name: name for name in frame.columns}
    with pytest.raises(UserError, match=f"--map {role}={role}: a column of true and false"):
        run_import("parquet", tmp_path / "t.parquet", tmp_path / "data", ImportOptions(columns))


def test_guests_never_become_a_customer(tmp_path: Path) -> None:
    """The whole import is refused, as for an empty cell, and leaves nothing."""
    frame = pl.DataFrame({"who": [1.0, float("nan"), None], "what": [3, 4, 5], "when": ["2020-01-01"] * 3})
    frame.write_parquet(tmp_path / "t.parquet")
    columns = {"user": "who", "item": "what", "time": "when"}
    with pytest.raises(DataError, match="row 3: user_id nan is missing"):
        run_import("parquet", tmp_path / "t.parquet", tmp_path / "data", ImportOptions(columns, market="fr"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
    frame.filter(pl.col("who").is_not_nan()).write_parquet(tmp_path / "t.parquet")
    run_import("parquet", tmp_path / "t.parquet", tmp_path / "data", ImportOptions(columns, market="fr"))
    assert open_store(tmp_path / "data" / "fr").interactions["user_id"].to_list() == ["1"]
