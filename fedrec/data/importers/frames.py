"""Data frames into market stores: ``fedrec.import_frame``."""

import re
from pathlib import Path
from typing import Any

import polars as pl

from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.tabular import Frame, import_table
from fedrec.data.importers.times import check_zone
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
    if not isinstance(min_users, int):
        raise UserError(f"min_users={min_users!r}: a whole number")
    try:
        options = ImportOptions(
            columns=dict(chosen),
            market=market,
            time_format=time_format,
            timezone=None if timezone is None else check_zone(timezone),
            merge=merge or {},
            min_users=min_users,
            items=None if items is None else Path(items),
        )
        return import_table(Frame(Path("data frame"), table), Path(directory), options, has)
    except UserError as error:
        raise type(error)(_in_python(str(error))) from None


def _table(frame: Any) -> pl.DataFrame:
    """As a polars frame; raises :class:`UserError` for what is none."""
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        if isinstance(frame, pl.LazyFrame):
            return frame.collect()
        if hasattr(frame, "__arrow_c_stream__"):
            return pl.DataFrame(frame)
    except ImportError as error:  # pandas hands its columns out by pyarrow
        raise UserError(f"frame: {cleaned(str(error), 200)}; install it, or give a polars frame") from None
    except Exception as error:  # of another library's code
        raise UserError(f"frame: cannot be read ({type(error).__name__}: {cleaned(str(error), 200)})") from None
    raise UserError(f"frame: a {type(frame).__name__} is no data frame; give one of polars, pandas or Arrow")


def _in_python(text: str) -> str:
    """An error of the importers, with the words of this function's arguments in place of a command line's options."""
    text = re.sub(r"--map (\w+)=", r"columns: \1=", text).replace("--map", "columns")
    return re.sub(r"--(min-users|time-format|timezone|market|merge|items)", lambda m: m[1].replace("-", "_"), text)
