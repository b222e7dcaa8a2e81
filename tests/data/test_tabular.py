"""Importers of tables: csv, parquet, UCI Online Retail."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions, parse_columns, parse_merge
from fedrec.data.store import open_store, open_stores
from fedrec.errors import UserError

COLUMNS = {"user": "who", "item": "what", "time": "when", "value": "stars", "title": "name", "market": "land"}
HEADER = "who,what,when,stars,name,land"
LINES = [
    "u1,b,2020-01-02 10:00:00,5,Blue,New Zealand",
    "u1,a,2020-01-01,4,Apple,New Zealand",
    "u2,a,1577836800,3,apple,New Zealand",
    "u2,b,2020-01-02T10:00:00Z,1,Blue,Fiji",
    "u3,a,2020-01-05,2,apple,Fiji",
]


def csv(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def options(**changes: object) -> ImportOptions:
    return ImportOptions(**{"columns": COLUMNS, **changes})  # type: ignore[arg-type]


def test_a_table_becomes_markets_in_its_own_row_order(tmp_path: Path) -> None:
    """Times of four forms; row order is kept, for it breaks ties; names are made safe; the commonest title wins."""
    report = run_import("csv", csv(tmp_path / "t.csv", LINES), tmp_path / "data", options())
    assert report.markets == ("fiji", "new-zealand")
    store = open_store(tmp_path / "data" / "new-zealand")
    assert store.rows.rows() == [
        ("u1", "b", 1577959200, 5.0, 0),
        ("u1", "a", 1577836800, 4.0, 0),
        ("u2", "a", 1577836800, 3.0, 0),
    ]
    assert store.catalogue.select("item_id", "title").rows() == [("a", "Apple"), ("b", "Blue")]
    assert store.time_resolution == "minute"


def test_parquet_and_csv_give_the_same_stores(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "who": ["u1", "u1", "u2"],
            "what": [10, 11, 10],
            "when": [1577836800, 1577836860000, 1577840000],
            "stars": [1, 2, 3],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    columns = {role: column for role, column in COLUMNS.items() if column in frame.columns}
    prints = set()
    for kind, name in (("csv", "t.csv"), ("csv", "t.csv.gz"), ("parquet", "t.parquet")):
        out = tmp_path / name.replace(".", "-")
        run_import(kind, tmp_path / name, out, ImportOptions(columns, market="jp"))
        prints.add(open_store(out / "jp").fingerprint)
    assert len(prints) == 1
    assert open_store(out / "jp").interactions["timestamp"].to_list() == [1577836800, 1577836860, 1577840000]


def test_real_datetimes_and_a_format_of_ones_own(tmp_path: Path) -> None:
    frame = pl.DataFrame({"who": ["u"], "what": ["a"], "when": ["31/12/2019"]})
    columns = {"user": "who", "item": "what", "time": "when"}
    frame.write_csv(tmp_path / "a.csv")
    run_import("csv", tmp_path / "a.csv", tmp_path / "a", ImportOptions(columns, market="jp", time_format="%d/%m/%Y"))
    frame.with_columns(pl.col("when").str.to_datetime("%d/%m/%Y")).write_parquet(tmp_path / "b.parquet")
    run_import("parquet", tmp_path / "b.parquet", tmp_path / "b", ImportOptions(columns, market="jp"))
    for name in "ab":
        assert open_store(tmp_path / name / "jp").interactions["timestamp"].to_list() == [1577750400]


def test_merging_and_leaving_out(tmp_path: Path) -> None:
    lines = [f"u{n},a,2020-01-0{n},1,x,{land}" for n, land in enumerate(("A", "B", "B", "C"), start=1)]
    source = csv(tmp_path / "t.csv", lines)
    report = run_import("csv", source, tmp_path / "one", options(merge={"ab": ("a", "b")}))
    assert report.markets == ("ab", "c")
    assert [store.users for store in open_stores(tmp_path / "one")] == [3, 1]
    report = run_import("csv", source, tmp_path / "two", options(min_users=2))
    assert report.markets == ("b",)
    assert "market a left out: 1 users, fewer than 2" in report.notes


MISTAKES = {
    "no mapping": (LINES, {"columns": {"user": "who"}}, "item is missing"),
    "no such column": (LINES, {"columns": {**COLUMNS, "user": "whom"}}, "--map user=whom: no such column"),
    "two markets": (LINES, {"market": "jp"}, "one of them"),
    "no market": (LINES, {"columns": {k: v for k, v in COLUMNS.items() if k != "market"}}, "one of them"),
    "bad time": (["u,a,yesterday,1,x,A"], {}, "row 2: time 'yesterday' is no time"),
    "future": (["u,a,2020-01-01,1,x,A", "u,a,2999-01-01,1,x,A"], {}, "row 3: time '2999-01-01' lies before 1990"),
    "bad value": (["u,a,2020-01-01,nan,x,A"], {}, "row 2: value 'nan' is not a finite number"),
    "no user": ([",a,2020-01-01,1,x,A"], {}, "row 2: user_id None is missing"),
    "no market name": (["u,a,2020-01-01,1,x,"], {}, "row 2: market None is missing"),
    "unsafe market": (["u,a,2020-01-01,1,x,///"], {}, "market name '' is refused"),
    "nothing": ([], {}, "holds no rows"),
    "merge of nobody": (LINES, {"merge": {"x": ("mars",)}}, "'mars' is no market"),
    "merge into a market": (LINES, {"merge": {"fiji": ("new-zealand",)}}, "'fiji' is a market already"),
    "too many users asked": (LINES, {"min_users": 9}, "leaves no market"),
    "two names, one market": (["u,a,2020-01-01,1,x,A B", "u,a,2020-01-01,1,x,a-b"], {}, "would both be 'a-b'"),
    "separator": (LINES, {"separator": ";;"}, "must be one character"),
    "other separator": (LINES, {"separator": ";"}, "no such column"),
}


@pytest.mark.parametrize(("lines", "changes", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named_and_leave_nothing(
    lines: list[str], changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run_import("csv", csv(tmp_path / "t.csv", lines), tmp_path / "data", options(**changes))
    assert said in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("kind", "name", "content"), [("csv", "t.csv", b"\xff\xfe\x00a,b\n\x80"), ("parquet", "t.parquet", b"PAR1 no")]
)
def test_damaged_files(kind: str, name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        run_import(kind, tmp_path / name, tmp_path / "data", options())
    with pytest.raises(UserError, match="no such file"):
        run_import(kind, tmp_path / "nowhere", tmp_path / "data", options())


def test_options_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--map: not an option of import kind 'xmarket-5core'"):
        run_import("xmarket-5core", tmp_path, tmp_path / "data", options())


@pytest.mark.parametrize("entries", [["users=a"], ["user="], ["user"], ["user=a", "user=b"]])
def test_mappings_that_are_none(entries: list[str]) -> None:
    with pytest.raises(UserError, match="--map"):
        parse_columns(entries)


@pytest.mark.parametrize("entries", [["x"], ["x="], ["x=a", "y=a"], ["x=a,a"], ["../x=a"], ["x=../a"]])
def test_merges_that_are_none(entries: list[str]) -> None:
    with pytest.raises(UserError, match="--merge"):
        parse_merge(entries)


def retail(path: Path, lines: list[str]) -> Path:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_online_retail_counts_what_it_drops(tmp_path: Path) -> None:
    source = retail(
        tmp_path / "r.csv",
        [
            "1,85123a,LAMP,6,2010-12-01 08:26:00,2.5,17850.0,United Kingdom",
            "1,POST,POSTAGE,1,2010-12-01 08:26:00,2.5,17850.0,United Kingdom",
            "C2,85123A,LAMP,-6,2010-12-02 08:26:00,2.5,17850.0,United Kingdom",
            "3,85123A,LAMP,1,2010-12-03 08:26:00,2.5,,United Kingdom",
            "4,85123A,LAMP,-1,2010-12-03 08:26:00,2.5,17850.0,United Kingdom",
            "5,10002,,2,2010-12-03 08:27:00,1.0,17851.0,EIRE",
        ],
    )
    report = run_import("online-retail", source, tmp_path / "data")
    assert report.markets == ("eire", "united-kingdom")
    assert report.notes == (
        "dropped: 1 rows of cancelled invoices",
        "dropped: 1 rows without a customer",
        "dropped: 1 rows of non-products (postage, fees, vouchers)",
        "dropped: 1 rows of no or negative quantity",
        "user_id: numbers written as floats are taken for whole numbers, such as 17850",
        "times without an offset are taken for UTC, days are as written; --timezone ZONE says otherwise",
    )
    kingdom = open_store(tmp_path / "data" / "united-kingdom")
    assert kingdom.rows.rows() == [("17850", "85123A", 1291191960, 6.0, 0)]
    assert kingdom.catalogue["title"].to_list() == ["LAMP"]
    with pytest.raises(UserError, match="'CustomerID' is missing"):
        run_import("online-retail", csv(tmp_path / "t.csv", LINES), tmp_path / "other")


def test_the_real_table(shared: Path, tmp_path: Path) -> None:
    """The published table has 541,909 rows, 9,288 of them on cancelled invoices."""
    source = shared / "online_retail" / "online_retail.csv.gz"
    merged = ImportOptions(merge=parse_merge(["dach=germany,austria,switzerland"]), min_users=50)
    report = run_import("online-retail", source, tmp_path / "data", merged)
    assert report.markets == ("dach", "france", "united-kingdom")
    assert report.notes[0] == "dropped: 9288 rows of cancelled invoices"
    dropped = sum(int(note.split()[1]) for note in report.notes if note.startswith("dropped"))
    with gzip.open(source) as stream:
        rows = sum(1 for _ in stream) - 1
    assert rows == 541909
    everything = run_import("online-retail", source, tmp_path / "all")
    assert sum(store.count for store in open_stores(tmp_path / "all")) == rows - dropped
    assert len(everything.markets) == 37


def test_a_file_at_which_the_reader_panics_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """polars' own kind of error for what its parser did not expect; it is no Exception."""
    path = csv(tmp_path / "t.parquet", LINES)

    def panic(_path: Path, **_: object) -> pl.DataFrame:
        raise pl.exceptions.PanicException("index out of bounds")

    monkeypatch.setattr(pl, "scan_parquet", panic)
    with pytest.raises(UserError, match=r"t.parquet: not readable as parquet \(index out of bounds\)"):
        run_import("parquet", path, tmp_path / "data", options())


@pytest.mark.parametrize("column", ["who", "what"])
def test_keys_longer_than_a_round_would_take_are_refused_at_once(tmp_path: Path, column: str) -> None:
    line = LINES[0].split(",")
    line[HEADER.split(",").index(column)] = "k" * 513
    source = csv(tmp_path / "t.csv", [*LINES, ",".join(line)])
    with pytest.raises(UserError, match="row 7: .*k{40}.* has over 512 characters; shorten it"):
        run_import("csv", source, tmp_path / "data", options())


def test_of_two_columns_that_differ_by_a_blank_the_one_that_was_named_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u1"], "user ": ["X"], "what": ["a"], "when": ["2020-01-01"]})
    frame.write_parquet(tmp_path / "t.parquet")
    columns = {"user": "user", "item": "what", "time": "when"}
    run_import("parquet", tmp_path / "t.parquet", tmp_path / "d", ImportOptions(columns, market="fr"))
    assert open_store(tmp_path / "d" / "fr").interactions["user_id"].to_list() == ["u1"]
    with pytest.raises(UserError, match="2 columns have that name but for blanks or accents"):
        run_import(
            "parquet", tmp_path / "t.parquet", tmp_path / "e", ImportOptions({**columns, "user": " user"}, market="fr")
        )


def test_texts_that_say_nothing_are_none_and_equal_texts_are_one(tmp_path: Path) -> None:
    titles = ["nan", "NULL", "Cafe\u0301", "Caf\u00e9", "N/A"]
    frame = pl.DataFrame({"who": ["u"] * 5, "what": list("abcde"), "when": ["2020-01-01"] * 5, "name": titles})
    frame.write_parquet(tmp_path / "t.parquet")
    columns = {"user": "who", "item": "what", "time": "when", "title": "name"}
    run_import("parquet", tmp_path / "t.parquet", tmp_path / "d", ImportOptions(columns, market="fr"))
    assert open_store(tmp_path / "d" / "fr").catalogue["title"].to_list() == [
        None,
        None,
        "Caf\u00e9",
        "Caf\u00e9",
        None,
    ]


def test_a_time_out_of_all_bounds_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    times = pl.Series([2**62], dtype=pl.Int64).cast(pl.Datetime("ms"))
    pl.DataFrame({"who": ["u"], "what": ["a"], "when": times}).write_parquet(tmp_path / "t.parquet")
    columns = {"user": "who", "item": "what", "time": "when"}
    with pytest.raises(UserError, match="time"):
        run_import("parquet", tmp_path / "t.parquet", tmp_path / "d", ImportOptions(columns, market="fr"))
    assert capfd.readouterr().err == ""
