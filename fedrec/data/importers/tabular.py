"""``csv`` and ``parquet``: any table with one row an interaction, by a mapping of its columns."""

from pathlib import Path

import polars as pl

from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.table import MARKET, ROW, checked, write_markets
from fedrec.data.store import UNREADABLE
from fedrec.errors import UserError


def import_csv(source: Path, directory: Path, options: ImportOptions) -> ImportReport:
    """Import a CSV file (``.csv``, ``.csv.gz``) with a header; see :func:`import_table`."""
    return import_table(source, read_csv(source, options.separator), directory, options)


def import_parquet(source: Path, directory: Path, options: ImportOptions) -> ImportReport:
    """Import a parquet file; see :func:`import_table`."""
    _require_file(source)
    try:
        frame = pl.read_parquet(source)
    except UNREADABLE as error:
        raise UserError(f"{source}: not readable as parquet ({_short(error)})") from None
    return import_table(source, frame, directory, options)


def import_table(source: Path, frame: pl.DataFrame, directory: Path, options: ImportOptions) -> ImportReport:
    """Write one store a market.

    ``--map`` names the columns of user, item and time, and optionally value (default 1), title, brand, category and
    market; without a market column, ``--market`` names the one market. Row order is kept. Raises :class:`UserError`
    naming column or row, value and remedy; nothing is left behind in that case.
    """
    missing = [role for role in REQUIRED if role not in options.columns]
    if missing:
        raise UserError(f"--map: {missing[0]} is missing; write --map {missing[0]}=COLUMN ({_has(source, frame)})")
    for role, column in options.columns.items():
        if column not in frame.columns:
            raise UserError(f"--map {role}={column}: no such column; {_has(source, frame)}")
    if (MARKET in options.columns) == (options.market is not None):
        raise UserError("market: give --map market=COLUMN, or --market NAME for all rows (one of them)")
    if frame.is_empty():
        raise UserError(f"{source}: holds no rows; supply some")
    for role, column in options.columns.items():
        if frame.schema[column].is_nested() or frame.schema[column] in (pl.Duration, pl.Time, pl.Object, pl.Binary):
            raise UserError(f"--map {role}={column}: a column of {frame.schema[column]} cannot be one; convert it")
    chosen = frame.select(pl.col(column).alias(ROLES[role]) for role, column in options.columns.items())
    if options.market is not None:
        chosen = chosen.with_columns(pl.lit(options.market).alias(MARKET))
    chosen = chosen.with_columns(pl.int_range(2, pl.len() + 2).alias(ROW))  # the header is row 1
    return write_markets(checked(chosen, str(source), options.time_format), directory, str(source.name), options)


def read_csv(source: Path, separator: str = ",") -> pl.DataFrame:
    """A CSV file as texts."""
    _require_file(source)
    if len(separator.encode()) != 1:
        raise UserError(f"--separator {separator!r}: must be one character")
    try:
        return pl.read_csv(source, separator=separator, infer_schema=False)
    except (*UNREADABLE, UnicodeDecodeError) as error:
        raise UserError(f"{source}: not readable as CSV ({_short(error)}); check encoding and separator") from None


def _require_file(source: Path) -> None:
    if not source.is_file():
        raise UserError(f"{source}: no such file")


def _has(source: Path, frame: pl.DataFrame) -> str:
    return f"{source} has {', '.join(frame.columns)}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
