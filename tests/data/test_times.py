"""Moments and calendar days against Python's own zones."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.columns import Columns
from fedrec.data.draws import UserDraws
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.refusal import Rows
from fedrec.data.importers.times import Times, check_zone, read_times
from fedrec.data.market_rows import read_rows
from fedrec.data.protocols import TEST, days_apart
from fedrec.data.splits import split_market
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import DataError, UserError
from fedrec.recipe import EvaluationSettings
from tests.data.test_protocols import asked
from tests.data.test_splits import listed, under

ZONES = ["Asia/Tokyo", "Europe/London", "America/St_Johns", "Pacific/Auckland", "America/Sao_Paulo", "UTC"]
MOMENTS = st.datetimes(datetime(1991, 1, 1), datetime(2025, 1, 1)).map(lambda value: value.replace(microsecond=0))
OFFSETS = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))


def read(values: list[Any], time_format: str | None = None, zone: str | None = None, dtype: Any = None) -> Times:
    rows = Rows("t.csv", pl.Series(range(len(values))))
    return read_times(pl.Series(values, dtype=dtype), rows, time_format, zone)


def days(times: Times) -> list[date]:
    return pl.from_epoch(times.seconds + times.offsets).dt.date().to_list()


FORMS = ["%d/%m/%Y", "%d-%m-%Y", "%Y%m%d", "%m-%d-%Y", "%d-%b-%Y", "%d %B %Y", "%j-%Y", "%y-%m-%d"]
WITH_OFFSET = ["{day} %H:%M:%S %z", "{day}T%H:%M:%S%z", "%z {day} %H:%M:%S", "%H:%M:%S%z {day}", "%H:%M:%S %z at {day}"]


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(MOMENTS, OFFSETS.filter(lambda one: one.utcoffset(None))), min_size=1, max_size=8),
    form=st.one_of(
        st.sampled_from(["iso ", "isoT"]),
        st.builds(lambda w, d: w.format(day=d), *map(st.sampled_from, (WITH_OFFSET, FORMS))),
    ),
    zone=st.sampled_from([None, *ZONES]),
)
def test_a_written_offset_says_moment_and_day(
    rows: list[tuple[datetime, timezone]], form: str, zone: str | None
) -> None:
    """In ISO 8601 or any format of one's own, with dashes and digits around the offset, and whatever zone is named."""
    moments = [moment.replace(tzinfo=offset) for moment, offset in rows]
    iso = form.startswith("iso")
    texts = [one.isoformat(form[-1]) if iso else one.strftime(form) for one in moments]
    times = read(texts, None if iso else form, zone)
    assert times.seconds.to_list() == [int(one.timestamp()) for one in moments]
    assert days(times) == [one.date() for one in moments]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(MOMENTS, min_size=1, max_size=8),
    st.sampled_from(ZONES),
    st.sampled_from(["%s", "%+", "%d-%m-%Y %H:%M:%S%#z"]),
)
def test_moments_in_a_format_stay_where_they_are_in_any_zone(moments: list[datetime], zone: str, form: str) -> None:
    known = [moment.replace(tzinfo=UTC) for moment in moments]
    written = {"%s": "{:.0f}", "%+": "{1:%Y-%m-%dT%H:%M:%SZ}"}.get(form, "{1:%d-%m-%Y %H:%M:%S}Z")
    times = read([written.format(one.timestamp(), one) for one in known], form, zone)
    assert times.seconds.to_list() == [int(one.timestamp()) for one in known]
    assert days(times) == [one.astimezone(ZoneInfo(zone)).date() for one in known]


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=8), st.sampled_from(ZONES))
def test_a_clock_without_a_place_is_of_the_zone_that_was_given(clocks: list[datetime], zone: str) -> None:
    """Python's fold 0 is the first of an hour that comes twice. A skipped hour counts as the hour after it does."""
    times = read([clock.isoformat() for clock in clocks], zone=zone)
    local = [clock.replace(tzinfo=ZoneInfo(zone)) for clock in clocks]
    there = [
        one.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == one.replace(tzinfo=None) for one in local
    ]
    for seconds, day, one, exists in zip(times.seconds, days(times), local, there, strict=True):
        assert day == one.date()
        if exists:
            assert seconds == int(one.timestamp())
        else:
            later = one + timedelta(hours=1)
            assert seconds == int(later.timestamp()) - 3600
    plain = read([clock.isoformat() for clock in clocks])
    assert plain.seconds.to_list() == [int(clock.replace(tzinfo=UTC).timestamp()) for clock in clocks]
    assert days(plain) == [clock.date() for clock in clocks]


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=8), st.sampled_from(ZONES), st.sampled_from(["number", "Z", "column"]))
def test_a_moment_is_counted_by_days_of_the_zone_that_was_given(moments: list[datetime], zone: str, form: str) -> None:
    known = [moment.replace(tzinfo=UTC) for moment in moments]
    values: list[Any] = known
    if form != "column":
        values = [int(one.timestamp()) if form == "number" else one.strftime("%Y-%m-%dT%H:%M:%SZ") for one in known]
    for named, wanted in ((zone, ZoneInfo(zone)), (None, UTC)):
        times = read(values, zone=named)
        assert times.seconds.to_list() == [int(one.timestamp()) for one in known]
        assert days(times) == [one.astimezone(wanted).date() for one in known]


def test_a_frames_own_zone_is_the_place(tmp_path: Path) -> None:
    moment = datetime(2024, 3, 1, 8, tzinfo=ZoneInfo("Asia/Tokyo"))
    times = read([moment], dtype=pl.Datetime("us", "Asia/Tokyo"))
    assert (times.seconds.to_list(), days(times)) == ([int(moment.timestamp())], [date(2024, 3, 1)])
    assert days(read([moment.date()])) == [date(2024, 3, 1)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024-03-01", []),
        ("2024-03-01T08:00", ["days are as written"]),
        ("2024-03-01T08:00Z", ["by days of UTC"]),
        ("1709280000", ["by days of UTC"]),
        ("2024-03-01T08:00+09:00", ["days follow the offset"]),
    ],
)
def test_an_import_says_whose_days_it_counts(value: str, said: list[str]) -> None:
    notes = read([value]).notes
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))
    (with_zone,) = read([value], zone="Asia/Tokyo").notes
    assert "Asia/Tokyo" in with_zone


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 6 * 24)), min_size=15, max_size=40
    ),
    hours=st.integers(-11, 13),
)
def test_baskets_are_the_same_however_the_same_clock_is_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], hours: int
) -> None:
    """Local times, the same with their offset, and as UTC with the zone named: one day is one basket in each."""
    folder = tmp_path_factory.mktemp("times")
    place = timezone(timedelta(hours=hours))
    zone = f"Etc/GMT{-hours:+d}"  # whose sign is the other way round
    clocks = [datetime(2024, 3, 1) + timedelta(hours=hour) for _, _, hour in rows]
    written = {
        "local": [clock.isoformat() for clock in clocks],
        "offset": [clock.replace(tzinfo=place).isoformat() for clock in clocks],
        "utc": [clock.replace(tzinfo=place).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for clock in clocks],
    }
    found = []
    for name, times in written.items():
        lines = [f"{user},{item},{time}" for (user, item, _), time in zip(rows, times, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["who,what,when", *lines]) + "\n")
        options = ImportOptions(
            {"user": "who", "item": "what", "time": "when"}, market="jp", timezone=zone if name == "utc" else None
        )
        run_import("csv", folder / f"{name}.csv", folder / name, options)
        try:
            split = split_market(open_store(folder / name / "jp"), under("temporal", holdout="basket"))
        except UserError as error:
            found.append(str(error).replace(f"/{name}/", "/"))
            continue
        stages = (asked(split, split.validation), asked(split, split.test))
        found.append(repr((split.items, listed(split.train, split.items), stages)))
    assert found == found[:1] * 3


def test_a_day_that_a_zone_never_had(tmp_path: Path) -> None:
    """Samoa went from 29 to 31 December 2011."""
    times = read(["2011-12-30T08:00:00", "1993-08-21T08:00:00"], zone="Pacific/Apia")
    assert times.seconds.null_count() == 0
    (tmp_path / "t.csv").write_text("who,what,when\nu,a,2011-12-30T08:00:00\nu,b,2011-12-31T08:00:00\n")
    columns = {"user": "who", "item": "what", "time": "when"}
    run_import("csv", tmp_path / "t.csv", tmp_path / "d", ImportOptions(columns, market="ws", timezone="Pacific/Apia"))
    assert open_store(tmp_path / "d" / "ws").interactions.height == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 999)), min_size=2, max_size=12, unique=True),
    st.sampled_from(["milliseconds", "fraction", "text", "column"]),
)
def test_the_earliest_within_a_second_is_kept(
    tmp_path_factory: pytest.TempPathFactory, moments: list[tuple[int, int]], form: str
) -> None:
    """Stores keep seconds; of one second's rows the first is the earliest all the same."""
    folder = tmp_path_factory.mktemp("fractions")
    begin = 1_700_000_000
    exact = [(begin + second) * 1000 + milli for second, milli in moments]
    values: list[Any] = {
        "milliseconds": exact,
        "fraction": [f"{one // 1000}.{one % 1000:03d}" for one in exact],
        "text": [datetime.fromtimestamp(one / 1000, UTC).isoformat(timespec="milliseconds") for one in exact],
        "column": [datetime.fromtimestamp(one / 1000, UTC) for one in exact],
    }[form]
    frame = pl.DataFrame({"who": ["u"] * len(exact), "what": [f"i{n}" for n in range(len(exact))], "when": values})
    frame.write_parquet(folder / "t.parquet")
    columns = {"user": "who", "item": "what", "time": "when"}
    run_import("parquet", folder / "t.parquet", folder / "d", ImportOptions(columns, market="fr"))
    wanted = [f"i{number}" for number in sorted(range(len(exact)), key=lambda number: exact[number])]
    assert open_store(folder / "d" / "fr").interactions["item_id"].to_list() == wanted


def test_zones_and_formats_that_are_none() -> None:
    assert check_zone("Asia/Tokyo") == "Asia/Tokyo"
    for name in ("Mars/Olympus", "../etc/passwd", "", "Asia", "Factory", "posixrules", "right/UTC", "localtime"):
        with pytest.raises(UserError, match="--timezone"):
            check_zone(name)
    with pytest.raises(UserError, match="--time-format '%H': no format"):
        read(["08"], time_format="%H")
    with pytest.raises(UserError, match="names of zones are not read"):
        read(["2024-03-01 08:00 CET"], time_format="%Y-%m-%d %H:%M %Z")


@pytest.mark.parametrize("value", ["yesterday", "2024-13-01", "inf", "nan", "1e30", "-5", "0001-01-01", "2999-01-01"])
def test_other_times_are_refused(value: str) -> None:
    with pytest.raises(DataError, match="row 0: time"):
        read([value])


def test_a_leap_second_is_no_offset() -> None:
    times = read(["2016-12-31T23:59:60Z"], zone="Asia/Tokyo")
    assert times.offsets.to_list() == [9 * 3600]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 96), st.integers(-12, 14)), min_size=3, max_size=12))
def test_a_day_is_one_stretch_of_a_users_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    """Whatever offsets a user's rows were written with: no day is both learned from and held out."""
    folder = tmp_path_factory.mktemp("days")
    frame = pl.DataFrame(
        {
            "user_id": ["u"] * len(rows),
            "item_id": [f"i{number}" for number in range(len(rows))],
            "timestamp": [1_700_000_000 + 1800 * moment for moment, _ in rows],
            "value": [1.0] * len(rows),
            "utc_offset": [3600 * offset for _, offset in rows],
        }
    )
    write_store(folder / "jp", "jp", frame, source="test", time_resolution="minute")
    found = read_rows(open_store(folder / "jp"), under("temporal"), UserDraws.of_seed(0, "jp")).rows.days
    assert (np.diff(found) >= 0).all()
    assert set(found) <= {(1_700_000_000 + 1800 * m + 3600 * o) // 86400 for m, o in rows}


def test_a_users_days_are_that_users_own_however_many_there_are(tmp_path: Path) -> None:
    """Two thousand users, who each begin earlier than the one before: nobody's days count for another."""
    users, day = 2000, 86400
    frame = pl.DataFrame(
        {
            Columns.USER: np.repeat([f"user-{number:04d}" for number in range(users)], 4),
            Columns.ITEM: np.tile(["a", "b", "c", "d"], users),
            Columns.TIMESTAMP: (np.repeat(10_000 - np.arange(users), 4) + np.tile(np.arange(4), users)) * day + 3600,
            Columns.VALUE: 1.0,
        }
    )
    write_store(tmp_path / "alfa", "alfa", frame, source="test", time_resolution="day")
    store = open_store(tmp_path / "alfa")
    for protocol in ("temporal", "ctr"):
        under_protocol = EvaluationSettings(protocol=protocol)  # type: ignore[arg-type]
        rows = read_rows(store, under_protocol, UserDraws.of_seed(0, "alfa")).rows
        np.testing.assert_array_equal(rows.days, rows.times // day)
    labels = days_apart(rows)
    assert np.bincount(labels[labels >= 0]).sum() == 4 * users
    assert (labels == TEST).sum() == users
