"""Source files that are not what they should be: the cause and the line, and never a row of them."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.tabular import CsvFile
from fedrec.data.store import open_store, read_families
from fedrec.errors import UserError

OPTIONS = ImportOptions({"user": "who", "item": "what", "time": "when"}, market="fr")
LINES = ["who,what,when", "u1,a,2020-01-01", "u2,b,2020-01-02", "SECRET-1,SECRET-2,2020-01-03"]
PLAIN = "\n".join([*LINES, ""]).encode()


def imported(tmp_path: Path, content: bytes, name: str = "t.csv") -> list[tuple[Any, ...]]:
    (tmp_path / name).write_bytes(content)
    run_import("csv", tmp_path / name, tmp_path / "data", OPTIONS)
    return open_store(tmp_path / "data" / "fr").interactions.rows()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r"),
        gzip.compress(PLAIN),
        PLAIN.replace(b"SECRET-1", b'"SECRET-1"').rstrip(b"\n"),
    ],
    ids=["mark", "crlf", "cr", "mark and cr", "gzip without its name", "quotes"],
)
def test_what_other_programs_write_is_read(content: bytes, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    assert imported(tmp_path, content) == imported(plain, PLAIN)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("t.csv", PLAIN.decode())
    return buffer.getvalue()


WRONG = {
    "zip": (zipped(), "is a .zip archive or an .xlsx workbook"),
    "utf-16": (PLAIN.decode().encode("utf-16"), "is UTF-16"),
    "parquet": (b"PAR1....", "is a parquet file"),
    "latin-1": (PLAIN + "u3,café,2020-01-01\n".encode("latin-1"), "line 5: not UTF-8"),
    "nul": (PLAIN + b"u3,a\0,2020-01-01\n", "line 5: NUL byte"),
    "empty": (b"\n \n", "empty file"),
    "cut gzip": (gzip.compress(PLAIN)[:-9], "truncated or damaged gzip"),
    "open quote": (PLAIN + b'u3,"a,2020-01-01\nu4,b,2020-01-01\n', "line 5: a quote is opened and never closed"),
    "wide row": (PLAIN + b"u3,a,b,2020-01-01\n", "line 5: 4 fields where the header has 3"),
    "wide row after lines in quotes": (b'who,what,when\nu,"a\n\nb",2020-01-01\nu,a,b,c\n', "line 5: 4 fields"),
    "header twice": (b"who,what,when,who\n" + b"u,a,2020-01-01,v\n", "line 1: columns 1 and 4 have the same name"),
    "no header": (PLAIN.partition(b"\n")[2], "line 1 of {path} holds values, not names of columns"),
    "time over lines": (PLAIN + b'u3,a,"2020-01-04\nSECRET-3,b,2020-01-05"\n', "row 5: time (with a separator, quote"),
    "numbers for names": (b"1,SECRET,2020-01-03,4\n1,SECRET,2020-01-03,4\n", "line 1 of {path} holds values"),
    "value over lines": (
        PLAIN + b'u3,"a\nu4,SECRET-3",2020-01-01\n',
        "nobody sees, U+000A; is a quote unbalanced there?",
    ),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_the_cause_and_the_line_and_no_row(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        imported(tmp_path, content)
    text = str(error.value)
    assert said.format(path=tmp_path / "t.csv") in text
    assert text.startswith(("--map", str(tmp_path / "t.csv")))
    assert "SECRET" not in text
    assert "2020-01" not in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


WORDS = st.text(st.sampled_from("abcdefghijkl é-_"), min_size=4, max_size=9).map(lambda word: f"qq{word.strip()}qq")


@settings(max_examples=60, deadline=None)
@given(
    row=st.lists(st.one_of(WORDS, st.just("2020-01-02"), st.just("417")), min_size=1, max_size=5),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    expected=st.sampled_from([",", ";", "tab"]),
    columns=st.sampled_from([{}, OPTIONS.columns, {"user": "userid"}, {"user": "417"}, {"item": "2020-01-02"}]),
    named=st.booleans(),
)
def test_a_first_row_is_never_shown(
    tmp_path_factory: pytest.TempPathFactory,
    row: list[str],
    separator: str,
    expected: str,
    columns: dict[str, str],
    named: bool,
) -> None:
    """Without a header, whatever it holds, however it is separated; with repeats, and where it holds a wanted name."""
    if named:
        columns = {**columns, "market": row[0]}
    folder = tmp_path_factory.mktemp("rows")
    (folder / "t.csv").write_text(f"{separator.join(row)}\n{separator.join(reversed(row))}\n")
    with pytest.raises(UserError) as error:
        run_import("csv", folder / "t.csv", folder / "data", ImportOptions(columns, market="fr", separator=expected))
    text = str(error.value).replace(str(folder), "")
    asked = set(columns.values())
    assert not any(cell in text for cell in row if len(cell) > 3 and cell not in asked)


def test_names_are_shown_where_they_are_names(tmp_path: Path) -> None:
    """Two of those that were asked for are there; or one is close, and that one alone is shown."""
    for header, said in (
        ("who,thing,when", "--map item=what: no such column; {} has who, thing, when"),
        ("who,thing,moment", "--map item=what: no such column; line 1 of {} must hold the names of its 3 columns"),
        ("whoo,thing,moment", "--map user=who: no such column; line 1 of {} has whoo"),
        ("thing,moment,person", "--map user=who: no such column; line 1 of {} must hold the names of its 3 columns"),
        ("thing;moment;person", "--map user=who: no such column; line 1 of {} has other separators than expected"),
    ):
        row = "u1;a;2020-01-01" if ";" in header else "u1,a,2020-01-01"
        with pytest.raises(UserError) as error:
            imported(tmp_path, f"{header}\n{row}\n".encode())
        assert str(error.value).startswith(said.format(tmp_path / "t.csv"))


def test_a_quote_within_a_value_is_one(tmp_path: Path) -> None:
    """As shops write sizes in inches; blanks around the names of columns do not count."""
    content = 'who, what ,when\nu1,5" screen,2020-01-01\nu2,a,2020-01-02\nu3,7" x 9",2020-01-03\n\n'
    assert [row[1] for row in imported(tmp_path, content.encode())] == ['5" screen', "a", '7" x 9"']


CELLS = st.text(st.sampled_from('ab,"\n\r é;'), max_size=5)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    cut=st.integers(0, 12),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_a_table_is_read_as_the_standard_library_writes_it_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], cut: int, separator: str
) -> None:
    """Some characters short at the end, it is refused, or read as one that ends there."""
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["who", "what", "when"], *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    whole = buffer.getvalue()
    path.write_text(whole[: len(whole) - cut] if cut else whole, encoding="utf-8", newline="")
    ended = [[cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row] for row in rows]
    try:
        frame = pl.concat(list(CsvFile(path, separator).blocks()))
    except UserError:
        assert cut
        return
    found = [[cell or "" for cell in row] for row in frame.rows()]
    if not cut:
        assert found == ended
    else:
        assert found[:-1] == ended[: max(len(found) - 1, 0)]


def test_xmarket_and_family_maps_are_read_in_the_same_way(tmp_path: Path) -> None:
    lines = ["userId itemId rate date", "u1 a 5.0 2020-01-01", "u1 b 4.0 2020-01-02"]
    (tmp_path / "jp_5core.txt").write_bytes(b"\xef\xbb\xbf" + "\r".join(lines).encode())
    (tmp_path / "families.csv").write_bytes(b"\xef\xbb\xbfitem_id,family\r\na,a\r\nb,a\r\n")
    run_import("xmarket-5core", tmp_path, tmp_path / "data")
    store = open_store(tmp_path / "data" / "jp")
    assert store.interactions["item_id"].to_list() == ["a", "b"]
    assert store.families == {"a": "a", "b": "a"}
    (tmp_path / "jp_5core.txt").write_text("\n".join([*lines, "SECRET one too many 2020-01-01"]))
    with pytest.raises(UserError, match="line 4: 5 fields; expected 4") as error:
        run_import("xmarket-5core", tmp_path, tmp_path / "other")
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "item_id,family\na\n",
        "item_id,family\na,SECRET,x\n",
        'item_id,family\n"a',
        "a,b\n",
        "item_id,family\na,SECRET\u202e\n",
        "item_id,family\na, \n",
        f"item_id,family\nSECRET{'x' * 512},a\n",
    ],
)
def test_a_family_map_that_is_none_is_not_quoted(content: str, tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=r"families\.csv: line \d") as error:
        read_families(path)
    assert "SECRET" not in str(error.value)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "x[1]*"
    (tmp_path / "t.csv").write_bytes(PLAIN)
    run_import("csv", tmp_path / "t.csv", folder, OPTIONS)
    assert open_store(folder / "fr").interactions.height == 3
