"""The XMarket importer: every way the source can be wrong, and what the real data says."""

import gzip
from pathlib import Path

import pytest

from fedrec.data.describe import describe_market, shared_items
from fedrec.data.importers import run_import
from fedrec.data.store import open_stores
from fedrec.errors import UserError

HEADER = b"userId itemId rate date\n"
GOOD = HEADER + b"u1 a 5.0 2019-01-01\nu1 b 4.0 2019-01-02\nu2 a 3.0 2019-01-03\n"


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}_5core.txt").write_bytes(content)
    return folder


def test_rows_keep_the_files_order(tmp_path: Path) -> None:
    """Order breaks ties between equal dates later on, so it must survive, repeats included."""
    source = write(tmp_path / "source", jp=HEADER + b"u2 b 1.0 2019-05-01\nu1 a 5.0 2019-01-01\nu2 b 1.0 2019-05-01\n")
    run_import("xmarket-5core", source, tmp_path / "out")
    frame = open_stores(tmp_path / "out")[0].interactions
    assert frame["user_id"].to_list() == ["u2", "u1", "u2"]
    assert frame["timestamp"].to_list()[1] == 1546300800  # 2019-01-01 00:00 UTC


def test_gzip_and_plain_give_the_same_store(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", jp=GOOD)
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "jp_5core.txt.gz").write_bytes(gzip.compress(GOOD))
    run_import("xmarket-5core", plain, tmp_path / "a")
    run_import("xmarket-5core", packed, tmp_path / "b")
    first, second = open_stores(tmp_path / "a")[0], open_stores(tmp_path / "b")[0]
    assert first.content_hash == second.content_hash


def test_a_user_id_in_two_markets_is_said_once(tmp_path: Path) -> None:
    report = run_import("xmarket-5core", write(tmp_path / "s", jp=GOOD, de=GOOD), tmp_path / "out")
    assert report.markets == ("de", "jp")
    assert len(report.notes) == 1
    assert "2 user ids" in report.notes[0]


LINE_ERRORS = {
    "unparsable number": (b"u1 a five 2019-01-01\n", ["line 5", "'five'"]),
    "nan": (b"u1 a nan 2019-01-01\n", ["line 5", "'nan'"]),
    "infinite": (b"u1 a inf 2019-01-01\n", ["line 5", "'inf'"]),
    "unparsable date": (b"u1 a 5.0 01.02.2019\n", ["line 5", "'01.02.2019'"]),
    "impossible date": (b"u1 a 5.0 2019-02-30\n", ["line 5", "'2019-02-30'"]),
    "future date": (b"u1 a 5.0 2999-01-01\n", ["line 5", "'2999-01-01'", "future"]),
    "old date": (b"u1 a 5.0 1989-12-31\n", ["line 5", "'1989-12-31'", "1990"]),
    "few fields": (b"u1 a 5.0\n", ["line 5", "3 fields"]),
    "nul byte": (b"u1 a\0 5.0 2019-01-01\n", ["line 5", "NUL"]),
    "bad utf-8": (b"u1 \xff\xfe 5.0 2019-01-01\n", ["line 5", "UTF-8"]),
}


@pytest.mark.parametrize(("line", "said"), LINE_ERRORS.values(), ids=LINE_ERRORS)
def test_a_bad_line_names_file_line_and_value(tmp_path: Path, line: bytes, said: list[str]) -> None:
    refused(tmp_path, write(tmp_path / "source", jp=GOOD + line), ["jp_5core.txt", *said])


FILE_ERRORS = {
    "empty file": (b"", ["empty"]),
    "header only": (HEADER, ["no interactions"]),
    "missing column": (b"userId itemId rate\nu a 5\n", ["line 1", "'date'"]),
    "columns swapped": (b"itemId userId rate date\na u 5 2019-01-01\n", ["line 1", "header"]),
}


@pytest.mark.parametrize(("content", "said"), FILE_ERRORS.values(), ids=FILE_ERRORS)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, said: list[str]) -> None:
    refused(tmp_path, write(tmp_path / "source", jp=content), ["jp_5core.txt", *said])


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "jp_5core.txt.gz").write_bytes(gzip.compress(GOOD * 1000)[:-30])
    refused(tmp_path, source, ["jp_5core.txt.gz", "truncated"])


def test_a_market_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, write(tmp_path / "source", **{"..": GOOD}), ["'..'", "market name"])


def test_a_missing_or_empty_source_is_named(tmp_path: Path) -> None:
    refused(tmp_path, tmp_path / "nowhere", ["nowhere", "no such folder"])
    (tmp_path / "source").mkdir()
    refused(tmp_path, tmp_path / "source", ["_5core.txt"])


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'csvv' is unknown; did you mean 'csv'"):
        run_import("csvv", tmp_path, tmp_path / "out")


def test_a_bad_family_map_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "source", jp=GOOD)
    (source / "families.csv").write_text("item_id,family\na,a\nb\n")
    refused(tmp_path, source, ["families.csv", "line 3"])


def test_an_occupied_target_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        run_import("xmarket-5core", write(tmp_path / "source", jp=GOOD), target)
    assert [entry.name for entry in target.iterdir()] == ["mine.txt"]


def refused(tmp_path: Path, source: Path, said: list[str]) -> None:
    """The import fails with all of ``said`` in at most two lines, and leaves nothing half-written."""
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        run_import("xmarket-5core", source, tmp_path / "out")
    assert all(text in str(caught.value) for text in said), str(caught.value)
    assert str(caught.value).count("\n") <= 1
    assert set(tmp_path.iterdir()) == before


def test_the_real_data_has_the_published_sizes(xmarket: Path) -> None:
    """ACMR's Table 2 (users, items, interactions as imported)."""
    found = {row.market: (row.users, row.items, row.interactions) for row in map(describe_market, open_stores(xmarket))}
    assert found == {
        "de": (1851, 2179, 17300),
        "jp": (487, 955, 4485),
        "in": (239, 470, 2015),
        "fr": (1838, 1879, 17624),
        "ca": (4668, 5735, 44779),
        "mx": (1878, 1645, 17095),
        "uk": (3352, 3251, 31547),
    }
    assert shared_items(open_stores(xmarket))[1] == 8304
