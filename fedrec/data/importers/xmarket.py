"""XMarket five-core files as published with FOREC (Bonab et al., Cross-Market Product Recommendation, CIKM 2021).

One file a market, ``{market}_5core.txt`` or ``.txt.gz``, header ``userId itemId rate date``, separated by blanks.
"""

import math
import re
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from fedrec.data.columns import Columns
from fedrec.data.importers.declared import read_declared
from fedrec.data.importers.ids import read_ids
from fedrec.data.importers.item_texts import item_table
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.refusal import Rows, quoted
from fedrec.data.importers.report import ImportReport, shared_user_note
from fedrec.data.importers.table import undeclared_note
from fedrec.data.importers.texts import read_text
from fedrec.data.importers.times import Resolution
from fedrec.data.importers.whole import WholeImporter
from fedrec.data.store import EARLIEST, read_families
from fedrec.data.store_writer import write_store
from fedrec.errors import DataError, UserError
from fedrec.files import market_name, new_folder

HEADER = ["userId", "itemId", "rate", "date"]
_SUFFIX = re.compile(r"_5core\.txt(\.gz)?$")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY = 86400


class XMarketImporter(WholeImporter):
    """A folder of ``*_5core.txt`` files."""

    options = frozenset({"--items"})

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """Write one market store per five-core file of the folder ``source``.

        ``families.csv`` is taken along where it lies beside the files. Raises :class:`UserError` naming file, line,
        value and remedy; nothing is left behind in that case.
        """
        if not source.is_dir():
            raise UserError(f"{source}: no such folder; name the one that holds the *_5core.txt files")
        files = _market_files(source)
        map_path = source / "families.csv"
        families = read_families(map_path) if map_path.is_file() else None
        declared = read_declared(options.items) if options.items is not None else None
        users: dict[str, pl.Series] = {}
        notes: list[str] = []
        with new_folder(directory) as scratch:
            for name, path in files.items():
                frame, said = read_five_core(path)
                notes += said
                users[name] = frame[Columns.USER].unique()
                items = None
                if declared is not None:
                    found = item_table(frame)
                    items = declared.of(name, found)
                    notes += undeclared_note(name, found, items)
                write_store(
                    scratch / name,
                    name,
                    frame,
                    source=f"xmarket-5core {path.name}",
                    time_resolution=Resolution().add(frame[Columns.TIMESTAMP]).word,
                    items=items,
                    families=families,
                    items_declared=declared is not None,
                )
        return ImportReport(tuple(files), (*notes, *shared_user_note(users)))


def read_five_core(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read and validate one file, and what is worth saying of it; rows keep the file's order."""
    latest = int(datetime.now(UTC).timestamp()) + _DAY  # a day of grace: somewhere it is already tomorrow
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    lines: list[int] = []
    values: list[float] = []
    days: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        where = f"{path}: line {number}"
        fields = line.split()
        if number == 1:
            _check_header(fields, where)
            continue
        if not fields:
            continue
        if len(fields) != len(HEADER):
            raise DataError(f"{where}: {len(fields)} fields; expected {len(HEADER)}: {' '.join(HEADER)}")
        user, item, rate, day = fields
        if day not in days:
            days[day] = _seconds(day, latest, where)
        users.append(user)
        items.append(item)
        lines.append(number)
        times.append(days[day])
        values.append(_rating(rate, where))
    if not users:
        raise UserError(f"{path}: holds no interactions; remove the file or supply its rows")
    rows = Rows(str(path), pl.Series(lines), "line")
    (user_ids, of_users), (item_ids, of_items) = (
        read_ids(pl.Series(ids), rows, name) for name, ids in ((HEADER[0], users), (HEADER[1], items))
    )
    notes = [f"{path.name}: {note}" for note in (*of_users, *of_items)]
    columns = {Columns.USER: user_ids, Columns.ITEM: item_ids, Columns.TIMESTAMP: times, Columns.VALUE: values}
    return pl.DataFrame(columns), notes


def _market_files(source: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        if not _SUFFIX.search(path.name):
            continue
        name = market_name(_SUFFIX.sub("", path.name).lower(), str(path))
        if name in files:
            raise UserError(f"{path}: market {name!r} also comes from {files[name].name}; remove one")
        files[name] = path
    if not files:
        raise UserError(f"{source}: no *_5core.txt or *_5core.txt.gz file; is this the folder of XMarket data?")
    return files


def _check_header(fields: list[str], where: str) -> None:
    for name in HEADER:
        if name not in fields:
            raise UserError(f"{where}: column {name!r} is missing; the header must be {' '.join(HEADER)!r}")
    if fields != HEADER:
        raise UserError(f"{where}: the header must be {' '.join(HEADER)!r}, in that order and alone")


def _rating(text: str, where: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: rate{quoted(text)} is not a finite number; correct or remove the line")
    return value


def _seconds(text: str, latest: int, where: str) -> int:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        seconds = (date.fromisoformat(text) - date(1970, 1, 1)).days * _DAY
    except ValueError:
        raise DataError(f"{where}: date{quoted(text)} is not YYYY-MM-DD; correct or remove the line") from None
    if not EARLIEST <= seconds <= latest:
        raise DataError(f"{where}: date{quoted(text)} lies before 1990 or in the future; correct or remove the line")
    return seconds
