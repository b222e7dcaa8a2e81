"""``csv`` and ``parquet``: any table with one row an interaction, by a mapping of its columns."""

import io
from pathlib import Path

import polars as pl

from fedrec.components.importer import COMMON
from fedrec.data.importers.declared import read_declared
from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.table import MARKET, ROW, checked, write_markets
from fedrec.data.importers.texts import (
    column_name,
    csv_header,
    csv_records,
    csv_trouble,
    header_in_words,
    read_text,
    require_file,
)
from fedrec.data.importers.whole import WholeImporter
from fedrec.data.store import UNREADABLE, without_panics
from fedrec.errors import UserError
from fedrec.words import cleaned

_SEPARATORS = {"tab": "\t", "\\t": "\t"}


class CsvImporter(WholeImporter):
    """A CSV file (``.csv``, ``.csv.gz``) with a header; see :func:`import_table`."""

    options = COMMON | {"--map", "--separator"}

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """One store a market."""
        frame = read_csv(source, options.separator)
        wanted = {column_name(column) for column in options.columns.values()}
        return import_table(source, frame, directory, options, header_in_words(source, frame.columns, wanted))


class ParquetImporter(WholeImporter):
    """A parquet file; see :func:`import_table`."""

    options = COMMON | {"--map"}

    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """One store a market."""
        require_file(source)
        try:
            with without_panics():
                frame = pl.read_parquet(io.BytesIO(source.read_bytes()))  # a path may hold what is a pattern to polars
        except UNREADABLE as error:
            raise UserError(f"{source}: not readable as parquet ({cleaned(str(error), 120)})") from None
        names = f"{source} has {cleaned(', '.join(frame.columns), 300)}"
        return import_table(source, frame, directory, options, names)


def import_table(source: Path, frame: pl.DataFrame, directory: Path, options: ImportOptions, has: str) -> ImportReport:
    """Write one store a market.

    ``--map`` names the columns of user, item and time, and optionally value (default 1), title, brand, category and
    market; without a market column, ``--market`` names the one market. Row order is kept. Raises :class:`UserError`
    naming column or row, value and remedy; nothing is left behind in that case.
    ``has``: what errors say of the columns.
    """
    columns = {role: _named(frame, role, column) for role, column in options.columns.items()}
    missing = [role for role in REQUIRED if role not in columns]
    if missing:
        raise UserError(f"--map: {missing[0]} is missing; write --map {missing[0]}=COLUMN ({has})")
    for role, column in columns.items():
        if column not in frame.columns:
            raise UserError(f"--map {role}={column}: no such column; {has}")
    if (MARKET in columns) == (options.market is not None):
        raise UserError("market: give --map market=COLUMN, or --market NAME for all rows (one of them)")
    if frame.is_empty():
        raise UserError(f"{source}: holds no rows; supply some")
    for role, column in columns.items():
        if frame.schema[column].is_nested() or frame.schema[column] in (pl.Duration, pl.Time, pl.Object, pl.Binary):
            kind = cleaned(str(frame.schema[column]), 60)
            raise UserError(f"--map {role}={column}: a column of {kind} cannot be one; convert it")
        if role in {"user", "item", "market"} and frame.schema[column] == pl.Boolean:
            raise UserError(f"--map {role}={column}: a column of true and false names nobody; choose another")
    chosen = frame.select(pl.col(column).alias(ROLES[role]) for role, column in columns.items())
    if options.market is not None:
        chosen = chosen.with_columns(pl.lit(options.market).alias(MARKET))
    chosen = chosen.with_columns(pl.int_range(2, pl.len() + 2).alias(ROW))  # the header is row 1
    declared = None if options.items is None else read_declared(options.items).of
    frame, notes = checked(chosen, str(source), options)
    report = write_markets(frame, directory, str(source.name), options, declared)
    return ImportReport(report.markets, (*notes, *report.notes))


def read_csv(source: Path, separator: str = ",") -> pl.DataFrame:
    """A CSV file as texts; what cannot be read is said with its line, and never with what stands there."""
    separator = _SEPARATORS.get(separator, separator)
    if len(separator.encode()) != 1:
        raise UserError(f"--separator {separator!r}: must be one character")
    text = read_text(source).rstrip("\n") + "\n"
    header = csv_header(source, text, separator)
    try:
        frame = pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    except UNREADABLE:
        frame = None
    if frame is None or frame.columns != header or text.count('"') % 2:
        trouble = csv_trouble(source, text, separator, len(header))
        if trouble is not None:
            raise trouble
    if frame is None or frame.columns != header:  # a quote within a value, as in 5" screen, is no trouble but to polars
        frame = pl.DataFrame(
            csv_records(text, separator, len(header)), schema=dict.fromkeys(header, pl.String), orient="row"
        )
    return frame.rename({name: column_name(name) for name in header})


def _named(frame: pl.DataFrame, role: str, column: str) -> str:
    """The frame's own spelling of a column; raises :class:`UserError` where several would do."""
    alike = [name for name in frame.columns if column_name(name) == column_name(column)]
    if column in alike or not alike:
        return column
    if len(alike) > 1:
        raise UserError(
            f"--map {role}={column}: {len(alike)} columns have that name but for blanks or accents; rename one"
        )
    return alike[0]
