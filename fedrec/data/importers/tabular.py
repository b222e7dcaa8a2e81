"""``csv`` and ``parquet``: any table with one row an interaction, by a mapping of its columns.

Sources are read block by block, twice: to learn what ids occur, and to write the rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from fedrec.components.importer import COMMON
from fedrec.data.importers.declared import read_declared
from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.table import MARKET, Source, numbered, write_markets
from fedrec.data.importers.texts import (
    BLOCK,
    column_name,
    csv_blocks,
    csv_header,
    csv_records,
    csv_trouble,
    header_in_words,
    read_text,
    require_file,
    text_blocks,
)
from fedrec.data.importers.whole import WholeImporter
from fedrec.data.store import UNREADABLE, parquet_blocks, reading_parquet
from fedrec.errors import UserError
from fedrec.words import cleaned

BLOCK_ROWS = 500_000  # of a parquet file that are read at a time
_SEPARATORS = {"tab": "\t", "\\t": "\t"}


class CsvFile(Source):
    """A CSV file, of texts; what cannot be read is said with its line, and never with what stands there."""

    def __init__(self, path: Path, separator: str = ",") -> None:
        self.path = path
        self._separator = _SEPARATORS.get(separator, separator)
        if len(self._separator.encode()) != 1:
            raise UserError(f"--separator {separator!r}: must be one character")
        first = next(text_blocks(path, BLOCK))
        if not first.strip():
            first = read_text(path)  # which says so of an empty file
        self._header, self._header_lines = csv_header(path, first, self._separator)
        self.schema = pl.Schema({column_name(name): pl.String() for name in self._header})

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Every record below the header, with all columns."""
        blank = ""  # lines that end the file, or belong to what follows
        for text, line in csv_blocks(self.path, text_blocks(self.path, BLOCK), self._separator):
            body = text
            if line == 1:
                body = "".join(text.split("\n", self._header_lines)[self._header_lines :])
                line += self._header_lines
            body, line = blank + body, line - len(blank)
            rows = body.rstrip("\n")
            blank = body[len(rows) + 1 :] if rows else body
            if rows:
                yield self._parsed(f"{rows}\n", line)

    def _parsed(self, body: str, line: int) -> pl.DataFrame:
        columns = len(self._header)
        places = [f"column_{place}" for place in range(columns)]
        frame: pl.DataFrame | None
        whole = f"{self._separator.join(places)}\n{body}"  # the first record may be shorter than others
        try:
            frame = pl.read_csv(whole.encode(), separator=self._separator, infer_schema=False)
        except UNREADABLE:
            frame = None
        if frame is None or body.count('"') % 2:
            trouble = csv_trouble(self.path, body, self._separator, columns, line)
            if trouble is not None:
                raise trouble
        if frame is None:  # a quote within a value, as in 5" screen, is no trouble but to polars
            frame = pl.DataFrame(
                csv_records(body, self._separator, columns), schema=dict.fromkeys(places, pl.String), orient="row"
            )
        return frame.rename(dict(zip(places, self.schema, strict=True)))


class ParquetFile(Source):
    """A parquet file."""

    def __init__(self, path: Path) -> None:
        require_file(path)
        self.path = path
        with reading_parquet(path):
            self.schema = pl.scan_parquet(path, glob=False).collect_schema()  # a path may hold a pattern of polars

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """So many rows at a time."""
        return parquet_blocks(self.path, columns, BLOCK_ROWS)


class Frame(Source):
    """A table in memory."""

    def __init__(self, path: Path, frame: pl.DataFrame) -> None:
        self.path = path
        self.schema = frame.schema
        self._frame = frame

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The whole of it."""
        yield self._frame


class CsvImporter(WholeImporter):
    """A CSV file (``.csv``, ``.csv.gz``) with a header; see :func:`import_table`."""

    options = COMMON | {"--map", "--separator"}

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """One store a market."""
        table = CsvFile(source, options.separator)
        wanted = {column_name(column) for column in options.columns.values()}
        return import_table(table, directory, options, header_in_words(source, list(table.schema), wanted))


class ParquetImporter(WholeImporter):
    """A parquet file; see :func:`import_table`."""

    options = COMMON | {"--map"}

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """One store a market."""
        table = ParquetFile(source)
        return import_table(table, directory, options, f"{source} has {cleaned(', '.join(table.schema), 300)}")


def import_table(source: Source, directory: Path, options: ImportOptions, has: str) -> ImportReport:
    """Write one store a market.

    ``--map`` names the columns of user, item and time, and optionally value (default 1), title, brand, category and
    market; without a market column, ``--market`` names the one market. Row order is kept. Raises :class:`UserError`
    naming column or row, value and remedy; nothing is left behind in that case.
    ``has``: what errors say of the columns.
    """
    columns = {role: _named(source.schema, role, column) for role, column in options.columns.items()}
    missing = [role for role in REQUIRED if role not in columns]
    if missing:
        raise UserError(f"--map: {missing[0]} is missing; write --map {missing[0]}=COLUMN ({has})")
    for role, column in columns.items():
        if column not in source.schema:
            raise UserError(f"--map {role}={column}: no such column; {has}")
    if (MARKET in columns) == (options.market is not None):
        raise UserError("market: give --map market=COLUMN, or --market NAME for all rows (one of them)")
    for role, column in columns.items():
        kind = source.schema[column]
        if kind.is_nested() or kind in (pl.Duration, pl.Time, pl.Object, pl.Binary):
            raise UserError(f"--map {role}={column}: a column of {cleaned(str(kind), 60)} cannot be one; convert it")
        if role in {"user", "item", "market"} and kind == pl.Boolean:
            raise UserError(f"--map {role}={column}: a column of true and false names nobody; choose another")
    declared = None if options.items is None else read_declared(options.items).of
    chosen = {ROLES[role]: column for role, column in columns.items()}
    table = numbered(source, chosen, options.market, first=2)  # the header is row 1
    return write_markets(table, directory, str(source.path.name), options, declared)


def _named(schema: pl.Schema, role: str, column: str) -> str:
    """The table's own spelling of a column; raises :class:`UserError` where several would do."""
    alike = [name for name in schema if column_name(name) == column_name(column)]
    if column in alike or not alike:
        return column
    if len(alike) > 1:
        raise UserError(
            f"--map {role}={column}: {len(alike)} columns have that name but for blanks or accents; rename one"
        )
    return alike[0]
