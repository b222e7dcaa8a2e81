"""Import files: tables, parquet files and XMarket folders that are damaged, odd, or of another kind."""

import csv
import datetime
import decimal
import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.fuzz.judge import Case, Step, command
from tests.fuzz.values import damaged, word

MARKER = "ROWMARKER7f3a"  # stands in cells that no error may quote
ROW = rf"[,;\s]\w?{MARKER}"  # one cell may be quoted, where it is the one that is wrong; two of a row may not
_HEADER = ["user", "item", "time", "value", "title", "market"]
_MAP = ["--map", "user=user", "--map", "item=item", "--map", "time=time"]
_ALL = [*_MAP, "--map", "value=value", "--map", "title=title", "--map", "market=market"]
_ONE = [*_MAP, "--map", "title=title", "--market", "alfa"]
_RETAIL = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

_IDS = ["", " ", "null", "NaN", "1.0", "9007199254740993", "-0", "1e5", "x" * 512, "x" * 513, "x" * 100_000, "\u00e9",
        "e\u0301",
        "a\0b", "\x1b[31mred", "a\nb", "a\r\nb\nc\nd", "\u202eabc", '"', "'", "=cmd()", "日本", "\ufeffu1", "u1 ",
        "\u00a0",
        "u\u200b1", "\x85", "\x9b31m", "NA", "None", "u,1", "u;1", "\t"]  # fmt: skip
_TIMES = ["", "0", "-1", "1e20", "1e400", "NaN", "inf", "-inf", "99999999999", "100000000000", "1577836800.5",
          "2020-02-30",
          "2020-13-01", "01/02/2020", "2020-01-01T25:00", "2020-01-01T00:00+99:00", "2020-01-01T00:00:00+05:30",
          "2020-01-01 00:00:00.123456789Z", "1899-12-31", "9999-12-31", "10000-01-01", "0000-00-00", "2020-W01-1",
          "yesterday",
          "٢٠٢٠-٠١-٠١", "20200101", "2020", "1_577_836_800", "0x5e0be100", "2020-01-01T00:00:60Z", " 2020-01-01 ",
          "12/1/2010 8:26",
          "2020-01-01\x1b[31m", "9" * 400, "x" * 2000, "2020-01-01\n2020-01-02\n\n\n", "2020-01-01T00:00:00+24:00",
          "-2020-01-01",
          "1990-01-01", "631151999", "2262-04-12", "292277026596-12-04"]  # fmt: skip
_VALUES = ["", "inf", "-inf", "NaN", "1e400", "-1e400", "1,5", "5 stars", "null", "0x10", "1_0", "٣", "1e-400",
           "x" * 2000,
           "\x1b[31m", "True", "-0", "1e308"]  # fmt: skip
_FILE_NAMES = ["..", "A B", "é", "x" * 100, "\x1b[31m", "AT", "", "a.b"]
_MARKETS = ["NO", "no", "1", "../x", "", " ", "null", "alfa beta", "Côte", "日本", "-", "CON", "x" * 100, "\x1b[31m",
            "a/b", ".", "Alfa",
            "ALFA", "alfa!", "a\nb\nc\nd\ne", "\u202e"]  # fmt: skip

Rows = list[list[str]]


def import_case(chance: random.Random, folder: Path) -> Case:
    """One import; what it takes in, ``data describe`` can read."""
    make = chance.choice([_csv_cell, _csv_cell, _csv_cell, _csv_shape, _csv_shape, _csv_bytes, _csv_bytes, _csv_options,
                          _csv_options, _parquet_column, _parquet_column, _parquet_file, _xmarket, _xmarket,
                          _retail])  # fmt: skip
    what, arguments = make(chance, folder)
    steps: list[Step] = [command("data", "import", *arguments), command("data", "describe", arguments[2])]
    return Case(what, steps, ({0, 2}, {0}), ROW, tidy=True)


def _rows(chance: random.Random) -> Rows:
    """Ten interactions whose ids and titles hold the marker, except the ids of the row that is to be spoilt."""
    rows = [
        [
            f"u{MARKER}{row % 4}",
            f"i{MARKER}{row % 5}",
            f"2020-01-{row + 1:02d}",
            str(row % 5 + 1),
            f"{MARKER} {row}",
            "alfa",
        ]
        for row in range(10)
    ]
    rows[4] = ["u4", "i4", "2020-01-05", "5", MARKER, chance.choice(["alfa", "bravo"])]
    return rows


def _table(header: list[str], rows: Rows, separator: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n", quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([header, *rows])
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def _csv_cell(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """One cell of a sound table is odd, or a whole column is."""
    rows = _rows(chance)
    column = chance.choice([0, 1, 2, 2, 3, 5])
    odd = chance.choice({0: _IDS, 1: _IDS, 2: _TIMES, 3: _VALUES, 5: _MARKETS}[column])
    for row in rows if chance.random() < 0.2 else [rows[4]]:
        row[column] = odd
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    (folder / "table.csv").write_bytes(_table(_HEADER, rows, quoting=quoting))
    extra = ["--time-format", chance.choice(["%d/%m/%Y", "%s", "%Y-%m-%d", "%"])] if chance.random() < 0.1 else []
    return f"csv: {_HEADER[column]} {odd[:60]!r}", ["csv", "table.csv", "new", *_ALL, *extra]


def _csv_shape(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A table whose header, rows, quotes or separators are wrong."""
    rows = _rows(chance)
    sound = _table(_HEADER, rows)
    lines = sound.split(b"\n")
    shapes: dict[str, Callable[[], bytes]] = {
        "no header": lambda: b"\n".join(lines[1:]),
        "a header twice": lambda: b"\n".join([lines[0], *lines]),
        "a column name twice": lambda: _table(["user", "user", "time", "value", "title", "market"], rows),
        "all names the same": lambda: _table(["user"] * 6, rows),
        "an empty name": lambda: _table(["user", "", "time", "value", "", "market"], rows),
        "a name with an escape": lambda: _table(["user", "\x1b[31mitem", "time", "value", "title", "market"], rows),
        "a long name": lambda: _table(["user", "x" * 5000, "time", "value", "title", "market"], rows),
        "many columns": lambda: _table([f"column-{n}" for n in range(500)], [[MARKER] * 500] * 3),
        "names with blanks": lambda: _table([f" {name} " for name in _HEADER], rows),
        "names in capitals": lambda: _table([name.upper() for name in _HEADER], rows),
        "header alone": lambda: lines[0] + chance.choice([b"", b"\n", b"\n\n"]),
        "empty": lambda: b"",
        "blank lines": lambda: b"\n\n\n",
        "blank lines between": lambda: b"\n\n".join(lines),
        "a row too long": lambda: b"\n".join([*lines[:5], lines[5] + f",{MARKER},x".encode(), *lines[6:]]),
        "a row too short": lambda: b"\n".join([*lines[:5], b"u1,i1", *lines[6:]]),
        "all rows too long": lambda: b"\n".join([lines[0], *(line + f",{MARKER}".encode() for line in lines[1:-1])]),
        "a quote that stays open": lambda: b"\n".join([*lines[:3], b'"u1' + lines[3], *lines[4:]]),
        "a quote inside": lambda: b"\n".join([*lines[:3], lines[3].replace(b"i", b'i"', 1), *lines[4:]]),
        "a quote at the end": lambda: sound + b'"',
        "a header in quotes that stay open": lambda: b'"' + sound,
        "semicolons": lambda: _table(_HEADER, rows, ";"),
        "tabs": lambda: _table(_HEADER, rows, "\t"),
        "CR alone": lambda: sound.replace(b"\n", b"\r"),
        "CRLF": lambda: sound.replace(b"\n", b"\r\n"),
        "BOM": lambda: b"\xef\xbb\xbf" + sound,
        "UTF-16": lambda: sound.decode().encode("utf-16"),
        "UTF-16 without BOM": lambda: sound.decode().encode("utf-16-le"),
        "Latin-1": lambda: sound.replace(b"u4", b"\xe9").replace(b"5,MARKER", b"5,\xfcMARKER"),
        "NUL": lambda: sound.replace(b"u4", b"u\x004"),
        "NUL lines": lambda: sound + bytes(500),
        "one row": lambda: b"\n".join(lines[:2]),
        "a folder": lambda: b"",
    }
    what = chance.choice(list(shapes))
    path = folder / "table.csv"
    if what == "a folder":
        path.mkdir()
    else:
        path.write_bytes(shapes[what]())
    mapped = chance.choice([_ALL, _ONE])
    return f"csv: {what}", ["csv", "table.csv", "new", *mapped]


def _csv_bytes(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A damaged file, packed or under another name."""
    sound = _table(_HEADER, _rows(chance))
    packed = chance.random() < 0.5
    name = (
        "table.csv.gz" if packed else chance.choice(["table.csv", "table.CSV", "table.txt", "table.parquet", "table"])
    )
    what, content = damaged(chance, gzip.compress(sound, mtime=0) if packed else sound)
    if packed and chance.random() < 0.3:
        what, content = chance.choice(
            [("not packed", sound), ("packed twice", gzip.compress(gzip.compress(sound, mtime=0), mtime=0)),
             ("packed, then more", gzip.compress(sound, mtime=0) + b"x" * 50),
             ("packed nothing", gzip.compress(b"", mtime=0))]
        )  # fmt: skip
    (folder / name).write_bytes(content)
    return f"{name}: {what}", ["csv", name, "new", *chance.choice([_ALL, _ONE])]


def _csv_options(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A sound table, and options that do not fit it."""
    (folder / "table.csv").write_bytes(_table(_HEADER, _rows(chance)))
    odd = word(chance).replace("\0", "")
    choices = [
        ["--map", odd], [f"--map=user={odd}"], [f"--map={odd}=user"], ["--map", "user"], ["--map", "user="],
        ["--map", "=user"],
        ["--market", odd], ["--time-format", odd], ["--separator", odd], ["--merge", odd], [f"--merge={odd}=alfa"],
        [f"--merge=x={odd}"], ["--merge", "x=alfa,alfa"], ["--merge", "alfa=bravo"], ["--merge", "x=alfa,bravo"],
        ["--merge", "x=,"], ["--min-users", "0"], ["--min-users", "-5"], ["--min-users", "9" * 30],
        ["--min-users", "1000"], ["--min-users", "x"], ["--time-format", "%Y"], ["--time-format", "%"],
        ["--time-format", "%Q%Q"], ["--time-format", "x" * 3000], ["--time-format", "%H"], ["--separator", "\n"],
        ["--separator", '"'], ["--separator", ";"], ["--separator", "u"], ["--separator", "\r"], ["--separator", "ab"],
        ["--separator", "é"], ["--map", "brand=title"], ["--map", "brand=user"], ["--map", "category=time"],
    ]  # fmt: skip
    options = [*chance.choice([_ALL, _ONE, _MAP]), *chance.choice(choices)]
    if chance.random() < 0.15:  # the roles of other columns
        names = [
            chance.choice(["user", "item", "time", "value", "market"]) for _ in range(3)
        ]  # one value may be quoted
        options = [f"--map={role}={name}" for role, name in zip(("user", "item", "time"), names, strict=True)]
        options += ["--market", "alfa"]
    source = chance.choice(["table.csv"] * 8 + [".", "missing.csv", "\x1b[31m.csv", "x" * 5000, "\udcff.csv"])
    target = chance.choice(
        ["new"] * 9 + [".", "table.csv", "table.csv/new", "a\nb\nc\nd", "x" * 300, "\x1b[31m", "\udcff"]
    )
    kind = chance.choice(["csv"] * 9 + ["parquet", "online-retail", "xmarket-5core", odd or "x", "\x1b[31m"])
    what = f"{kind!r} {source[:30]!r} {target[:30]!r} {options[-2:]!a:.150}"
    if options[0].startswith("--map="):
        what = f"options of other columns: {options!a}"
    return what, [kind, source, "new" if target == "new" else target, *options]


def _parquet_column(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A parquet file with a column of another type, or of odd values."""
    rows = _rows(chance)
    columns: dict[str, Any] = dict(zip(_HEADER, map(list, zip(*rows, strict=True)), strict=True))
    size = len(rows)
    day = datetime.datetime(2020, 1, 1)
    odd: dict[str, Callable[[], pl.Series]] = {
        "lists": lambda: pl.Series([[1]] * size),
        "structs": lambda: pl.Series([{"a": MARKER}] * size),
        "binary": lambda: pl.Series([b"\xff\xfe"] * size),
        "categorical": lambda: pl.Series([f"c{n % 3}" for n in range(size)], dtype=pl.Categorical),
        "enum": lambda: pl.Series([f"c{n % 3}" for n in range(size)], dtype=pl.Enum(["c0", "c1", "c2"])),
        "decimal": lambda: pl.Series([decimal.Decimal("1577836800.50")] * size),
        "large decimal": lambda: pl.Series([decimal.Decimal("9" * 30)] * size),
        "duration": lambda: pl.Series([datetime.timedelta(days=1)] * size),
        "clock": lambda: pl.Series([datetime.time(1, 2)] * size),
        "date": lambda: pl.Series([day.date()] * size),
        "datetime ns": lambda: pl.Series([day] * size, dtype=pl.Datetime("ns")),
        "datetime of a zone": lambda: pl.Series([day] * size, dtype=pl.Datetime("us", "Asia/Kolkata")),
        "booleans": lambda: pl.Series([True, False] * (size // 2)),
        "nulls": lambda: pl.Series([None] * size),
        "null texts": lambda: pl.Series([None] * size, dtype=pl.String),
        "one null": lambda: pl.Series([None, *["x"] * (size - 1)]),
        "floats": lambda: pl.Series([1577836800.5 + n for n in range(size)]),
        "NaN": lambda: pl.Series([float("nan")] * size),
        "infinities": lambda: pl.Series([float("inf"), float("-inf")] * (size // 2)),
        "small floats": lambda: pl.Series([0.1, 1e-300] * (size // 2)),
        "int8": lambda: pl.Series([n % 5 for n in range(size)], dtype=pl.Int8),
        "uint64": lambda: pl.Series([2**64 - 1 - n for n in range(size)], dtype=pl.UInt64),
        "int128": lambda: pl.Series([2**100 + n for n in range(size)], dtype=pl.Int128),
        "2^53+1": lambda: pl.Series([2**53 + 1 + n for n in range(size)]),
        "negative": lambda: pl.Series([-1 - n for n in range(size)]),
        "int64 ends": lambda: pl.Series([2**63 - 1, -(2**63)] * (size // 2)),
        "long texts": lambda: pl.Series(["x" * 100_000] * size),
        "control characters": lambda: pl.Series([f"\x1b[31m{n % 3}\x07" for n in range(size)]),
        "lines": lambda: pl.Series([f"a\nb\nc\nd{n % 3}" for n in range(size)]),
        "NUL": lambda: pl.Series([f"a\0{n % 3}" for n in range(size)]),
        "NFD and NFC": lambda: pl.Series(["\u00e9", "e\u0301"] * (size // 2)),
        "empty texts": lambda: pl.Series([""] * size),
        "times": lambda: pl.Series([chance.choice(_TIMES) for _ in range(size)]),
        "ids": lambda: pl.Series([chance.choice(_IDS) for _ in range(size)]),
        "markets": lambda: pl.Series([chance.choice(_MARKETS) for _ in range(size)]),
        "datetime far": lambda: pl.Series([datetime.datetime(9999, 12, 31)] * size),
        "datetime early": lambda: pl.Series([datetime.datetime(1, 1, 1)] * size),
    }
    name = chance.choice(_HEADER)
    what = chance.choice(list(odd))
    columns[name] = odd[what]().alias(name)
    pl.DataFrame(columns).write_parquet(folder / "table.parquet")
    mapped = list(_ALL)
    if name != "title" and chance.random() < 0.3:
        mapped = [*_MAP, "--market", "alfa"]
    if chance.random() < 0.1:
        mapped += ["--time-format", "%Y-%m-%d"]
    return f"parquet: {name} of {what}", ["parquet", "table.parquet", "new", *mapped]


def _parquet_file(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A damaged parquet file, or one that is another kind of file."""
    buffer = io.BytesIO()
    frame = pl.DataFrame(_rows(chance), schema=_HEADER, orient="row")
    frame.write_parquet(buffer, compression=chance.choice(["uncompressed", "zstd", "snappy"]))  # type: ignore[arg-type]
    sound = buffer.getvalue()
    what, content = damaged(chance, sound)
    if chance.random() < 0.4:
        foot = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
        what, content = chance.choice(
            [("its foot", sound[foot:]), ("no foot", sound[:foot]), ("magic alone", b"PAR1"),
            ("magic twice", b"PAR1PAR1"),
             ("a huge foot", sound[:-8] + b"\xff\xff\xff\x7fPAR1"), ("no magic", sound[:-4] + b"XXXX"),
             ("a table", _table(_HEADER, _rows(chance))),
             ("its foot changed", sound[:foot] + damaged(chance, sound[foot:-8])[1] + sound[-8:]),
             ("an empty table", _parquet(frame.head(0))), ("no columns", _parquet(pl.DataFrame()))]
        )  # fmt: skip
    (folder / "table.parquet").write_bytes(content)
    return f"parquet: {what}", ["parquet", "table.parquet", "new", *_ALL]


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _xmarket(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """A folder of five-core files, one of them spoilt."""
    source = folder / "source"
    source.mkdir()
    lines = ["userId itemId rate date"]
    lines += [f"u{MARKER}{row % 4} i{MARKER}{row % 5} {row % 5 + 1}.0 2020-01-{row + 1:02d}" for row in range(10)]
    lines[5] = "u4 i4 5.0 2020-01-05"
    sound = "\n".join(lines).encode() + b"\n"
    (source / "at_5core.txt").write_bytes(sound)
    fields = lines[5].split(" ")
    column = chance.randrange(4)
    fields[column] = chance.choice([_IDS, _IDS, _VALUES, _TIMES][column])
    spoilt = "\n".join([*lines[:5], " ".join(fields), *lines[6:]]).encode()
    shapes: dict[str, Callable[[], tuple[str, bytes]]] = {
        f"{lines[0].split()[column]} {fields[column][:60]!r}": lambda: ("ca_5core.txt", spoilt),
        "damaged": lambda: ("ca_5core.txt", damaged(chance, sound)[1]),
        "damaged and packed": lambda: ("ca_5core.txt.gz", gzip.compress(damaged(chance, sound)[1], mtime=0)),
        "packed and damaged": lambda: ("ca_5core.txt.gz", damaged(chance, gzip.compress(sound, mtime=0))[1]),
        "no header": lambda: ("ca_5core.txt", "\n".join(lines[1:]).encode()),
        "tabs": lambda: ("ca_5core.txt", sound.replace(b" ", b"\t")),
        "commas": lambda: ("ca_5core.txt", sound.replace(b" ", b",")),
        "five fields": lambda: ("ca_5core.txt", sound.replace(b"u4 i4", f"u4 {MARKER} i4".encode())),
        "two fields": lambda: ("ca_5core.txt", sound.replace(b"u4 i4 5.0 2020-01-05", f"{MARKER} 4".encode())),
        "header twice": lambda: ("ca_5core.txt", lines[0].encode() + b"\n" + sound),
        "odd name": lambda: (f"{chance.choice(_FILE_NAMES)}_5core.txt", sound),
        "not UTF-8 name": lambda: ("\udcff_5core.txt", sound),
        "families damaged": lambda: (
            "families.csv",
            damaged(chance, b"item_id,family\ni4,i4\n" + f"i{MARKER}1,i4\n".encode())[1],
        ),
        "families odd": lambda: ("families.csv", f"item_id,family\na,{MARKER},b\n".encode()),
        "families clash": lambda: ("families.csv", f"item_id,family\ni4,a\ni4,b\n{MARKER},c\n".encode()),
        "families of long rows": lambda: ("families.csv", f"item_id,family\n{'x' * 300_000},b\n".encode()),
    }
    what = chance.choice(list(shapes))
    name, content = shapes[what]()
    (source / name).write_bytes(content)
    if chance.random() < 0.03:
        (source / "de_5core.txt").mkdir()
    options = ["--market", "alfa"] if chance.random() < 0.03 else []
    return f"xmarket: {what}", ["xmarket-5core", "source", "new", *options]


def _retail(chance: random.Random, folder: Path) -> tuple[str, list[str]]:
    """The UCI table, spoilt in one cell, a column or its bytes."""
    rows = [
        [f"53{MARKER}{row}", f"8512{row % 5}A", MARKER, "6", f"2010-12-{row + 1:02d} 08:26:00", "2.55",
        f"{MARKER}{row % 3}", "United Kingdom"]
        for row in range(9)
    ]  # fmt: skip
    rows[4] = ["536365", "85123A", MARKER, "6", "2010-12-05 08:26:00", "2.55", "17850", "France"]
    header = list(_RETAIL)
    shape = chance.random()
    column = chance.choice([0, 1, 3, 4, 6, 7])
    odd = ""
    if shape < 0.6:
        odd = chance.choice([_IDS, _IDS, [], _VALUES, _TIMES, [], _IDS, _MARKETS][column])
        for row in rows if chance.random() < 0.2 else [rows[4]]:
            row[column] = odd
    elif shape < 0.75:
        header[column] = chance.choice(["", "x", header[column].lower(), "CustomerID"])
    content = _table(header, rows)
    if shape >= 0.75:
        content = damaged(chance, content)[1]
    (folder / "retail.csv").write_bytes(content)
    options = chance.choice(
        [[], [], [], ["--merge", "x=france"], ["--time-format", "%Y-%m-%d %H:%M:%S"], ["--min-users", "2"]]
    )
    return f"online-retail: {header[column]} {odd[:60]!r}", ["online-retail", "retail.csv", "new", *options]
