"""Data frames into market stores: ``fedrec.import_frame``."""

from pathlib import Path
from typing import Any

import polars as pl

from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.tabular import Frame, import_table
from fedrec.errors import UserError
from fedrec.words import cleaned


def import_frame(
    frame: Any,
    directory: Path | str,
    columns: dict[str, str] | None = None,
    *,
    market: str | None = None,
    time_format: str | None = None,
    timezone: str | None = None,
    merge: dict[str, tuple[str, ...]] | None = None,
    min_users: int = 1,
    items: Path | str | None = None,
) -> ImportReport:
    """Write a data frame of interactions as the new data folder ``directory``, one market store a market.

    ``frame``: of polars, pandas, Arrow, or anything else that hands out Arrow's streams; a row is one interaction.
    ``columns``: which of its columns are ``user``, ``item``, ``time``, ``market``, ``value``, ``title``, ``brand`` and
    ``category``; default: those of these names. ``market`` names the one market of a frame without such a column; the
    rest as in ``fedrec data import csv``.

    Raises :class:`UserError` for a column or a value that cannot be, and leaves nothing behind then.
    """
    table = _table(frame)
    chosen = columns if columns is not None else {role: role for role in ROLES if role in table.columns}
    unknown = sorted(set(chosen) - set(ROLES))
    if unknown:
        raise UserError(f"columns: {unknown[0]!r} is no role; roles: {', '.join(ROLES)}")
    has = f"the frame has {cleaned(', '.join(table.columns), 300)}"
    missing = [role for role in REQUIRED if role not in chosen]
    if missing:
        raise UserError(f"columns: which one is the {missing[0]}? write columns={{'{missing[0]}': ...}}; {has}")
    absent = [(role, column) for role, column in chosen.items() if column not in table.columns]
    if absent:
        role, column = absent[0]
        raise UserError(f"columns: {role}={column!r}: no such column; {has}")
    if ("market" in chosen) == (market is not None):
        raise UserError("market: name its column in columns, or give market='NAME' for all rows (one of them)")
    options = ImportOptions(
        columns=dict(chosen),
        market=market,
        time_format=time_format,
        timezone=timezone,
        merge=merge or {},
        min_users=min_users,
        items=None if items is None else Path(items),
    )
    return import_table(Frame(Path("data frame"), table), Path(directory), options, has)


def _table(frame: Any) -> pl.DataFrame:
    """As a polars frame; raises :class:`UserError` for what is none."""
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            return pl.DataFrame(frame)
        except ImportError as error:  # pandas hands its columns out by pyarrow
            raise UserError(f"frame: {error}; install it, or give a polars frame") from None
    raise UserError(f"frame: a {type(frame).__name__} is no data frame; give one of polars, pandas or Arrow")
