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
from fedrec.data.importers.refusal import Rows
from fedrec.data.store import open_store
from fedrec.errors import DataError, UserError
from fedrec.exchange.keys import read_keys


def rows_of(values: list[Any]) -> Rows:
    return Rows("t.csv", pl.Series(range(len(values))))


def ids(values: list[Any], dtype: Any = None) -> list[str]:
    column = pl.Series(values, dtype=dtype)
    return read_ids(column, rows_of(values), "user_id")[0].to_list()


def notes(values: list[Any]) -> list[str]:
    return read_ids(pl.Series(values), rows_of(values), "user_id")[1]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=20))
def test_whole_numbers_are_the_same_ids_in_every_type(values: list[int]) -> None:
    """As integers, as the floats that a gap in the column makes of them, as decimals, as texts of any of these."""
    wanted = [str(value) for value in values]
    assert ids(values, pl.Int64) == wanted
    assert ids([float(value) for value in values], pl.Float64) == wanted
    assert ids([Decimal(value) for value in values], pl.Decimal(38, 2)) == wanted
    assert ids([f"{value}.0" for value in values]) == wanted
    assert ids(wanted) == wanted


@given(st.integers(2**53, 2**63 - 1), st.sampled_from([float, lambda value: f"{value}.0", lambda value: f"{value}."]))
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


NOTHING = (None, "", "  ", "nan", "NaN", "-nan", "NULL", "null", "None", "nil", "NaT", "<NA>", "#N/A", "N/A", "n/a")
OF_PROGRAMS = (*NOTHING, "#N/A N/A", "1.#QNAN", "-1.#IND", ".", "\\N", "undefined", "(null)", "#NA")


@pytest.mark.parametrize("written", [*OF_PROGRAMS, "NA"])
def test_what_programs_write_for_nothing_is_missing(written: Any) -> None:
    with pytest.raises(DataError, match="row 1: user_id .* is missing"):
        ids(["u1", written, "u2"])


@pytest.mark.parametrize("written", OF_PROGRAMS)
def test_a_market_without_a_name_is_none(written: Any) -> None:
    with pytest.raises(DataError, match="row 1: market .* is missing"):
        read_ids(pl.Series(["jp", written]), rows_of(["jp", written]), "market", markets=True)


def test_namibia_is_a_market(tmp_path: Path) -> None:
    """Its code is NA, which is missing for users and items."""
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


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.sampled_from(["{}", "{}.", "{}.0", "{}.000", "{:03d}"])), min_size=1)
)
def test_ids_become_one_only_where_the_import_says_how_many(written: list[tuple[int, str]]) -> None:
    """Texts of one number; one with zeros in front is a code, and then none is a number."""
    texts = [form.format(number) for number, form in written]
    found, said = ids(texts), notes(texts)
    lost = len(set(texts)) - len(set(found))
    mended = [note for note in said if "are taken for whole numbers" in note]
    assert [f"; {lost} of them became one with another" in note for note in mended] == [lost > 0] * len(mended)
    assert (found == texts) == (not mended)
    if any(text.lstrip("-").startswith("0") and text.lstrip("-")[1:2].isdigit() for text in texts):
        assert found == texts


def test_numbers_that_stay_apart_are_said() -> None:
    assert ids(["12.0", "12", "A1"]) == ["12.0", "12", "A1"]
    assert notes(["12.0", "12", "A1"]) == ["user_id: 1 ids such as 12.0 stand beside 12 and are others"]
    assert notes(["12.0", "13", "A1"]) == []


@pytest.mark.parametrize("written", ["1.7851e4", "1.7851E+04", "1e+20", "12.0e3"])
def test_a_spreadsheets_exponent_is_refused(written: str) -> None:
    """It has dropped digits: several customers became one before the import."""
    with pytest.raises(DataError, match="row 1: user_id .* is written with an exponent"):
        ids(["17850", written])
    assert ids(["1e5", "2e6f"]) == ["1e5", "2e6f"]


def test_a_decimal_with_a_fraction_is_no_id() -> None:
    with pytest.raises(DataError, match="row 1: user_id .* is no whole number"):
        ids([Decimal("1.00"), Decimal("1.50")], pl.Decimal(10, 2))


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


@given(st.characters(categories=["Cc", "Cf", "Zl", "Zp"]) | st.sampled_from("\u034f\u115f\u2800\u3164\ufe0f\U000e0101"))
def test_what_nobody_sees_is_refused_wherever_a_key_enters(bad: str) -> None:
    """By imports, and by the coordinator; so that no market imports what its federation refuses."""
    with pytest.raises(DataError, match="row 1: user_id holds a character that nobody sees") as error:
        ids(["x", f"q{bad}q"])
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match="nobody sees"):
        read_keys({"items": ["x", f"q{bad}q"]}, "items")


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_an_id_that_is_imported_is_a_key_that_is_taken(values: list[str]) -> None:
    try:
        found = ids(values, pl.String)
    except (DataError, UnicodeEncodeError):
        return
    assert read_keys({"items": sorted(set(found))}, "items") == sorted(set(found))


def test_xmarket_reads_ids_in_the_same_way(tmp_path: Path) -> None:
    """Both columns: what is missing, what nobody sees, how long, and NFC with its note."""
    folder = tmp_path / "source"
    folder.mkdir()
    good = "userId itemId rate date\nu1 Cafe\u0301 5.0 2020-01-01\n"
    for bad, why in (("NULL", "is missing"), ("q\u202eq", "nobody sees"), ("x" * 513, "has over 512 characters")):
        for line in (f"{bad} a 5.0 2020-01-01", f"u2 {bad} 5.0 2020-01-01"):
            (folder / "jp_5core.txt").write_text(f"{good}{line}\n")
            with pytest.raises(DataError, match=f"jp_5core.txt: line 3: (userId|itemId) .*{why}"):
                run_import("xmarket-5core", folder, tmp_path / "data")
    (folder / "jp_5core.txt").write_text(good)
    (note,) = run_import("xmarket-5core", folder, tmp_path / "data").notes
    assert note == "jp_5core.txt: itemId: 1 ids were not in Unicode's composed form (NFC) and are now"
    assert open_store(tmp_path / "data" / "jp").interactions["item_id"].to_list() == ["Caf\u00e9"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_name_of_a_column_is_one_in_either_form(form: str, tmp_path: Path) -> None:
    header = unicodedata.normalize(form, "café")
    for kind in ("csv", "parquet"):
        source = tmp_path / f"t.{kind}"
        if kind == "csv":
            source.write_text(f"{header},what,when\nu,a,2020-01-01\n")
        else:
            pl.DataFrame({header: ["u"], "what": ["a"], "when": ["2020-01-01"]}).write_parquet(source)
        columns = {"user": "cafe\u0301", "item": "what", "time": "when"}
        assert run_import(kind, source, tmp_path / f"of-{kind}", ImportOptions(columns, market="fr")).markets == ("fr",)


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
