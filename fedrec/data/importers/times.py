"""Times as people write them: the moment of a row, and the calendar day of the place where it was written."""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from fedrec.data.importers.refusal import Rows
from fedrec.data.protocols import DAY_SECONDS
from fedrec.data.store import EARLIEST, UNREADABLE, without_panics
from fedrec.errors import DataError, UserError

_MILLISECONDS = 100_000_000_000  # a later second would lie in the year 5138
_FARTHEST = 18 * 3600  # seconds from UTC that a place can be
_MICRO, _NANOSECONDS = 10**6, 10**9  # in a second
_UTC = ("UTC", "Etc/UTC", "Etc/UCT", "Zulu")
_CLOCKS = ("%H:%M", "%H:%M:%S%.f")
_NAIVE = ("%Y-%m-%d", *(f"%Y-%m-%d{between}{clock}" for between in " T" for clock in _CLOCKS))
_AWARE = tuple(f"%Y-%m-%d{between}{clock}%#z" for between in " T" for clock in _CLOCKS)


class Resolution:
    """How finely times are told, by their clocks."""

    def __init__(self) -> None:
        self._days, self._minutes = True, True  # whether all are whole ones
        self._of_month: set[int] = set()
        self._moments: set[int] = set()  # the first and the last

    def add(self, times: pl.Series) -> "Resolution":
        """Take more of them along, seconds since 1970 as a clock shows them."""
        self._days = self._days and bool((times % DAY_SECONDS == 0).all())
        self._minutes = self._minutes and bool((times % 60 == 0).all())
        if self._days:
            self._of_month |= set(pl.from_epoch(times).dt.day().unique())
            moments = self._moments | {int(times.min()), int(times.max())}  # type: ignore[arg-type]
            self._moments = {min(moments), max(moments)}
        return self

    @property
    def word(self) -> str:
        """``month`` (always one day), ``day``, ``minute`` or ``second``."""
        if self._days:
            return "month" if len(self._of_month) == 1 and len(self._moments) > 1 else "day"
        return "minute" if self._minutes else "second"


@dataclass(frozen=True)
class Times:
    """When the rows happened."""

    seconds: pl.Series  # int64, since 1970-01-01 UTC
    fractions: pl.Series  # int64, microseconds within the second: they order rows, and are not kept
    offsets: pl.Series  # int32, seconds east of UTC: calendar days are those of seconds + offsets
    notes: list[str]


def check_zone(name: str) -> str:
    """Return the name of a time zone; raises :class:`UserError` for one that is none."""
    try:
        key = zoneinfo.ZoneInfo(name).key
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(key)  # some that Python has, polars has not
        return key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError):
        raise UserError(f"--timezone {name!r}: no such time zone; write one such as Asia/Tokyo or UTC") from None


def read_times(column: pl.Series, rows: Rows, time_format: str | None, timezone: str | None) -> Times:
    """Read a column of times.

    Numbers are seconds since 1970, or milliseconds from 1e11 on. Texts are ISO 8601, or whatever ``time_format`` says.
    A calendar day is that of the offset which the time was written with, whatever ``timezone`` is. Where none is
    written, a time of the clock is taken for ``timezone`` (default UTC), and a number's or a UTC time's day is that of
    ``timezone``, if one is given.

    Raises :class:`fedrec.errors.DataError` naming the first row that is no time, or lies before 1990 or in the future.
    """
    try:
        with without_panics():
            written = _parse(column, time_format)
    except UNREADABLE:
        raise DataError(f"{rows.origin}: time: a value of the column is out of all bounds; correct it") from None
    remedy = "write ISO 8601 or seconds since 1970, or give --time-format"
    rows.refuse(written.seconds.is_null(), column, "time", "is no time", remedy)
    seconds, offsets = written.seconds, written.offsets.fill_null(0)
    if timezone is not None:
        of_clock, of_moment = _at_clock(seconds, timezone), _offset(seconds, timezone)
        frame = pl.DataFrame({"clock": written.clock, "s": seconds, "c": of_clock, "m": of_moment})
        of_zone = frame.select(pl.when("clock").then("c").otherwise("m")).to_series()
        offsets = written.offsets.fill_null(of_zone)
        seconds = frame.select(pl.when("clock").then(pl.col("s") - pl.col("c")).otherwise("s")).to_series()
    latest = int(datetime.now(UTC).timestamp()) + DAY_SECONDS  # a day of grace: somewhere it is already tomorrow
    outside = (seconds < EARLIEST) | (seconds > latest)
    rows.refuse(outside, column, "time", "lies before 1990 or in the future", "correct or remove the row")
    return Times(seconds.cast(pl.Int64), written.fractions, offsets.cast(pl.Int32), _notes(written, timezone))


@dataclass(frozen=True)
class _Written:
    seconds: pl.Series  # since 1970, a clock's as if it stood in UTC; null where a value is no time
    offsets: pl.Series  # as written; null where none is, or UTC itself
    clock: pl.Series  # whether it is a time of the clock without any place
    fractions: pl.Series  # microseconds within the second

    def filled(self, other: "_Written") -> "_Written":
        """With what ``other`` read where this read nothing."""
        gone = self.seconds.is_null()
        offsets = pl.select(pl.when(gone).then(other.offsets).otherwise(self.offsets)).to_series()
        fractions = pl.select(pl.when(gone).then(other.fractions).otherwise(self.fractions)).to_series()
        return _Written(self.seconds.fill_null(other.seconds), offsets, self.clock | (gone & other.clock), fractions)


def _parse(column: pl.Series, time_format: str | None) -> _Written:
    nothing = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(column))
    if column.dtype.is_temporal():
        zone = getattr(column.dtype, "time_zone", None)
        exact = column.cast(pl.Datetime("us", zone)).dt.epoch("us")
        seconds, fractions = exact // _MICRO, exact % _MICRO
        if zone is None:
            return _Written(seconds, nothing, seconds.is_not_null(), fractions)
        moments = column.cast(pl.Datetime("us", zone))
        offsets = (moments.dt.base_utc_offset() + moments.dt.dst_offset()).dt.total_seconds()
        return _Written(seconds, nothing if zone in _UTC else offsets, seconds.is_null(), fractions)
    texts = column.cast(pl.String).str.strip_chars()
    if time_format is not None:
        return _read(texts, time_format)
    numbers = (column if column.dtype.is_numeric() else texts).cast(pl.Float64, strict=False)
    exact = pl.select(pl.when(numbers.abs() >= _MILLISECONDS).then(numbers / 1000).otherwise(numbers)).to_series()
    seconds = exact.floor().cast(pl.Int64, strict=False)
    fractions = ((exact - exact.floor()) * _MICRO).round().cast(pl.Int64, strict=False)
    found = _Written(seconds, nothing, pl.Series([False]).new_from_index(0, len(column)), fractions)
    for form in (*_NAIVE, *_AWARE):
        if not found.seconds.has_nulls():
            break
        found = found.filled(_read(texts, form))
    return found


def _read(texts: pl.Series, form: str) -> _Written:
    """Texts of one form; the offset is what lies between the clock that stands there and the moment it means.

    Raises :class:`UserError` where ``form`` is none, or asks for names of zones, which are not unique.
    """
    if "%Z" in form.replace("%%", ""):
        raise UserError(f"--time-format {form!r}: %Z, names of zones are not read; write %z for offsets, or --timezone")
    try:
        read = texts.str.to_datetime(form, strict=False, time_unit="us")
        days, clocks = texts.str.to_date(form, strict=False), texts.str.to_time(form, strict=False)
    except pl.exceptions.PolarsError:
        raise UserError(f"--time-format {form!r}: no format of times; write one such as %d/%m/%Y %H:%M") from None
    exact = read.dt.epoch("us")
    seconds = exact // _MICRO
    shown = days.cast(pl.Datetime("us")).dt.epoch("s") + (clocks.cast(pl.Int64) // _NANOSECONDS).fill_null(0)
    clock = seconds.is_not_null() & shown.is_not_null() & (getattr(read.dtype, "time_zone", None) is None)
    offsets = shown - seconds
    offsets = pl.select(pl.when(offsets.abs() <= _FARTHEST).then(offsets)).to_series()  # a leap second is no offset
    return _Written(seconds, pl.select(pl.when(offsets != 0).then(offsets)).to_series(), clock, exact % _MICRO)


def _offset(seconds: pl.Series, timezone: str) -> pl.Series:
    """Seconds east of UTC of a zone at these moments."""
    local = pl.from_epoch(seconds).dt.replace_time_zone("UTC").dt.convert_time_zone(timezone)
    return (local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_seconds()


def _at_clock(seconds: pl.Series, timezone: str) -> pl.Series:
    """Seconds east of UTC of a zone when its clocks show these seconds; what an hour has twice is the first time.

    An hour that a zone's clocks skip counts as the hour after it does, and a day (Apia, 30 December 2011) as the day
    after it.
    """

    def at(shift: int) -> pl.Series:
        local = pl.from_epoch(seconds + shift).dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        return (local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_seconds()

    return at(0).fill_null(at(3600)).fill_null(at(DAY_SECONDS))


def _notes(written: _Written, timezone: str | None) -> list[str]:
    if timezone is not None:
        own = "; where a time has an offset, days follow that" if written.offsets.is_not_null().any() else ""
        return [f"days are those of {timezone}, times without an offset its clock's{own}"]
    notes = []
    clock = written.seconds.filter(written.clock)
    if (clock % DAY_SECONDS != 0).any():
        notes.append("times without an offset are taken for UTC, days are as written; --timezone ZONE says otherwise")
    if (~written.clock & written.offsets.fill_null(0).eq(0)).any():
        notes.append("numbers and UTC times are counted by days of UTC; --timezone ZONE says otherwise")
    if written.offsets.fill_null(0).ne(0).any():
        notes.append("days follow the offset that each time was written with")
    return notes
