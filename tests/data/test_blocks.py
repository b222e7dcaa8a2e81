"""Sources that are read block by block: what comes of them does not depend on where a block ends."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data import distinct, store
from fedrec.data.describe import describe_market
from fedrec.data.importers import item_texts, run_import, table, tabular, texts
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.tabular import CsvFile
from fedrec.data.store import open_store, open_stores
from fedrec.errors import UserError

COLUMNS = {"user": "who", "item": "what", "time": "when", "value": "stars", "title": "name", "market": "land"}
OPTIONS: list[dict[str, Any]] = [{}, {"timezone": "Asia/Tokyo"}, {"min_users": 2}]
CELLS = st.text(st.sampled_from('ab,"\n é;5'), max_size=4)


def in_blocks(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Of so many rows or fewer, whatever holds rows or values."""
    patch.setattr(tabular, "BLOCK", 20 * rows)
    patch.setattr(tabular, "BLOCK_ROWS", rows)
    patch.setattr(table, "_HELD", rows)
    patch.setattr(store, "_BLOCK", rows)
    patch.setattr(distinct, "_FEW", rows)
    patch.setattr(item_texts, "_FEW", rows)


def written(folder: Path) -> dict[str, Any]:
    """Everything that the stores of a folder say."""
    return {
        one.name: (
            (one.path / "market.yaml").read_text(),
            one.rows.rows(),
            one.catalogue.rows(),
            one.fingerprint,
            describe_market(one),
            sorted(path.name for path in one.path.iterdir()),
        )
        for one in open_stores(folder)
    }


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[str, ...]]:
    dates, clocks = ["2020-01-01", "2020-03-01"], ["", " 10:00", " 10:00:07", "T10:00:07.25"]
    numbers = ["1577836800", "1577836800500"]
    times = st.sampled_from([*numbers, *(date + clock for date in dates for clock in clocks)])
    ids = st.sampled_from([*"abc", "7", "7.0", "é", "e\u0301"])
    titles = st.sampled_from(["", "Blue", "blue ", "nan", "Re\td", "Green"])
    row = st.tuples(ids, ids, times, st.sampled_from(["1", "2.5"]), titles, st.sampled_from(["New Zealand", "Fiji"]))
    return draw(st.lists(row, min_size=1, max_size=30))


@settings(max_examples=40, deadline=None)
@given(
    rows=tables(), size=st.integers(1, 7), options=st.sampled_from([{}, {"timezone": "Asia/Tokyo"}, {"min_users": 2}])
)
def test_stores_are_the_same_whatever_a_block_is(
    rows: list[tuple[str, ...]], size: int, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    chosen = ImportOptions(columns=COLUMNS, **options)
    frame = pl.DataFrame(rows, schema=list(COLUMNS.values()), orient="row")
    # The columns of COLUMNS stand in the order of its values, so a row is user, item, time, value, title, market.
    frame.write_csv(folder / "t.csv")
    frame.write_parquet(folder / "t.parquet", row_group_size=3)

    def imported(kind: str, name: str) -> Any:
        try:
            report = run_import(kind, folder / f"t.{kind}", folder / name, chosen)
        except UserError as error:
            return str(error).replace(f"t.{kind}", "t")
        return report.markets, sorted(report.notes), written(folder / name)

    whole = imported("csv", "whole")
    with pytest.MonkeyPatch.context() as patch:
        in_blocks(patch, size)
        assert imported("csv", "csv") == whole
        assert str(imported("parquet", "parquet")).replace("t.parquet", "t.csv") == str(whole)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8),
    size=st.integers(1, 60),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_a_block_ends_with_a_record(
    rows: list[list[str]], size: int, quoting: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where values hold line ends, separators and quotes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=quoting)
    writer.writerows([["who", "what"], *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv.gz"
    path.write_bytes(gzip.compress(buffer.getvalue().encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular, "BLOCK", size)
        blocks = [block for block in CsvFile(path).blocks() if block.height]
    found = [[cell or "" for cell in row] for block in blocks for row in block.rows()]
    assert found == rows


LONG = "".join(f"u{number},i{number % 7},2020-01-01\n" for number in range(500))
HEADER = "who,what,when\n"
THREE = ImportOptions({"user": "who", "item": "what", "time": "when"}, market="fr")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{LONG}u,i,no time\n", "row 502: time 'no time' is no time"),
        (f"{LONG},i,2020-01-01\n", "row 502: user_id None is missing"),
        (f"{LONG}u,i,2020-01-01,x\n", "line 502: 4 fields where the header has 3"),
        (f'{LONG}u,"i,2020-01-01\n{LONG}', "line 502: a quote is opened and never closed"),
        (f"{LONG}\n\nu,i,2020-01-01\n{LONG}", "row 502: user_id None is missing"),
        (f"{LONG}u,i,{'x' * 3000}", "line 502|a line of over 2,000 bytes"),
        (f"{LONG}u,i\0,2020-01-01\n", "line 502: NUL byte"),
        (f"{LONG}u,i\0,2020-01-01\n".replace("\n", "\r"), "line 502: NUL byte"),
        (f"{LONG}u,\udcff,2020-01-01\n", "line 502: not UTF-8"),
    ],
)
def test_a_mistake_far_down_has_its_own_place(
    content: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks(monkeypatch, 50)
    monkeypatch.setattr(texts, "LONGEST_RECORD", 2000)
    (tmp_path / "t.csv").write_bytes((HEADER + content).encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=said):
        run_import("csv", tmp_path / "t.csv", tmp_path / "data", THREE)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("size", [40, 2**25])
def test_lines_of_all_kinds(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line ends of other systems, records without their last columns, values longer than csv takes by itself."""
    monkeypatch.setattr(tabular, "BLOCK", size)
    long = "y" * 200_000
    rows = ["u1,a,2020-01-01", "u2,b,2020-01-02,Blue", f'u3,c,2020-01-03,"{long}"', 'u4,d,2020-01-04,"two', 'lines"']
    for end in ("\n", "\r", "\r\n"):
        (tmp_path / "t.csv").write_bytes(end.join(["who,what,when,name", *rows]).encode())
        found = pl.concat(list(CsvFile(tmp_path / "t.csv").blocks()))
        assert found["who"].to_list() == ["u1", "u2", "u3", "u4"]
        assert found["name"].to_list() == [None, "Blue", long, "two\nlines"]


def test_a_header_alone_is_no_row(tmp_path: Path) -> None:
    for text in ("who,what,when", HEADER, f"{HEADER}\n\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(UserError, match=r"t\.csv: holds no rows; supply some"):
            run_import("csv", tmp_path / "t.csv", tmp_path / "data", THREE)


@pytest.mark.parametrize("later", [LONG + "SECRET,i,2020-01-01\n", LONG[:-20], LONG + LONG])
def test_a_source_that_changes_meanwhile_is_refused(
    later: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + LONG)
    read = table._read_ids

    def then_change(*arguments: Any) -> Any:
        found = read(*arguments)
        path.write_text(HEADER + later)
        return found

    monkeypatch.setattr(table, "_read_ids", then_change)
    with pytest.raises(UserError, match=r"t\.csv: changed while it was read; import it again") as error:
        run_import("csv", path, tmp_path / "data", THREE)
    assert "SECRET" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["t.csv"]


def test_rows_that_were_changed_are_noticed_while_they_are_scanned(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + LONG)
    run_import("csv", tmp_path / "t.csv", tmp_path / "data", THREE)
    market = open_store(tmp_path / "data" / "fr")
    assert market.scan().collect().rows() == market.rows.rows()
    market.rows.reverse().write_parquet(market.path / "interactions.parquet")
    with pytest.raises(UserError, match=r"interactions differ from market\.yaml"):
        open_store(tmp_path / "data" / "fr").scan()


@pytest.mark.parametrize(("content", "said"), [(b"PAR1 no", "not readable as parquet"), (None, "missing")])
def test_a_damaged_store_is_described_in_words(content: bytes | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + LONG)
    run_import("csv", tmp_path / "t.csv", tmp_path / "data", THREE)
    path = tmp_path / "data" / "fr" / "interactions.parquet"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"interactions\.parquet: {said}.*; import the data again"):
        describe_market(open_store(tmp_path / "data" / "fr"))
