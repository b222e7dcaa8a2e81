"""The pages of results: every table has its place, its rows and its command, and says what the committed rows say."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def script(name: str) -> ModuleType:
    """A module of benchmarks/, whose scripts import one another by name, as when they are started."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)


measure, commands, results = script("measure"), script("commands"), script("results")
tables, pages = script("tables"), script("tables.pages")
TABLES = tables.TABLES
COMMANDS = [one for one in vars(commands).values() if isinstance(one, commands.Command)]


def copies(folder: Path) -> Path:
    """The pages that have tables, in another folder."""
    for name in {table.page for table in TABLES.values()}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of rows in place of the repository's."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(results, "WORK", tmp_path / "work")
    monkeypatch.setattr(results, "UNFINISHED", tmp_path / "unfinished")
    monkeypatch.setattr(results, "commit", lambda: "abc1234")
    return tmp_path / "results"


def test_every_place_is_a_tables_and_every_table_has_one() -> None:
    found = [(page.relative_to(ROOT).as_posix(), name) for page in PAGES for name in pages.places(page)]
    assert sorted(found) == sorted((table.page, table.name) for table in TABLES.values())
    opened = sum(page.read_text(encoding="utf-8").count("<!-- table:") for page in PAGES)
    assert opened == len(found), "a place without its <!-- end -->"


def test_the_pages_say_what_the_rows_say(tmp_path: Path) -> None:
    folder = copies(tmp_path)
    assert pages.fill(TABLES.values(), folder) == {}
    for name in {table.page for table in TABLES.values()}:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), (
            f"{name}: python benchmarks/measure.py --fill"
        )


def test_a_page_without_the_place_is_an_error(tmp_path: Path) -> None:
    folder = copies(tmp_path)
    page = folder / TABLES["losses"].page
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- table: losses -->", ""), encoding="utf-8")
    with pytest.raises(pages.NoPlaceError, match=r"losses\.md: needs exactly one line <!-- table: losses -->"):
        pages.fill([TABLES["losses"]], folder)


def test_a_table_without_rows_stays_as_it_stands(tmp_path: Path, rows: Path) -> None:
    folder = copies(tmp_path)
    assert set(pages.fill(TABLES.values(), folder)) == set(TABLES)
    page = TABLES["losses"].page
    assert (folder / page).read_bytes() == (ROOT / page).read_bytes()


def test_every_file_of_rows_is_written_by_one_command_and_every_command_by_a_table() -> None:
    written = Counter(name for command in COMMANDS for name in command.rows)
    kept = [
        path.relative_to(BENCHMARKS / "results").with_suffix("").as_posix() for path in results.FOLDER.rglob("*.csv")
    ]
    assert [name for name in kept if written[name] != 1] == []
    assert set(COMMANDS) == {command for table in TABLES.values() for command in table.commands}
    for command in COMMANDS:
        assert set(command.rows) & set(kept), command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.rows[0])
def test_options_are_those_of_the_script(command: Any) -> None:
    text = command.script.read_text(encoding="utf-8")
    assert "argparse.ArgumentParser(" in text
    known = set(re.findall(r'add_argument\("(--[\w-]+)"', text))
    data = {name: Path(name) for name in commands.DATA}
    arguments = command.arguments(data, 3)
    assert {word for word in arguments if word.startswith("-")} <= known
    assert ("--jobs" in arguments) == ("--jobs" in known)
    assert [name for name in data if name in arguments] == command.data


def completed(name: str, folder: Path) -> None:
    """Add what the committed rows lack: the second seed of FeCoSR-style at epsilon 16, 4 and 2."""
    if name == "privacy_fecosr":
        lines = (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        more = [re.sub(r"^(\w+),(16|4|2),0,", r"\1,\2,1,", line) for line in lines]
        (folder / f"{name}.csv").write_text("\n".join(dict.fromkeys([*lines, *more])) + "\n", encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.rows[0])
def test_a_command_whose_rows_are_there_does_nothing(
    command: Any, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no data folder, and no process may be started."""
    shutil.copytree(BENCHMARKS / "results", rows)
    completed(command.rows[0], rows)
    before = {path: path.read_bytes() for path in rows.rglob("*.csv")}
    nowhere = {name: Path("nowhere") for name in commands.DATA}
    main = script(command.script.stem).main
    monkeypatch.setattr(sys, "argv", [str(command.script), *command.arguments(nowhere, 1)])
    monkeypatch.setattr(subprocess, "run", refuse_to_start)
    monkeypatch.setattr(subprocess, "Popen", refuse_to_start)
    main()
    assert f"{command.rows[0]}: every row is there, nothing to measure" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in rows.rglob("*.csv")} == before


def refuse_to_start(*words: Any, **settings: Any) -> None:
    raise AssertionError(f"started {words}")


def shown(page: Path) -> list[list[str]]:
    """The benchmark commands of a page, as words after `python benchmarks/`; data folders by one name."""
    code = [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", page.read_text(encoding="utf-8"))]
    found = [re.sub(r"^(sudo )?python benchmarks/", "", one) for one in code if "python benchmarks/" in one]
    return [["DIR" if word in {"XMARKET", "RETAIL"} else word for word in shlex.split(one)] for one in found]


@pytest.mark.parametrize("page", sorted({table.page for table in TABLES.values()} - {"README.md"}))
def test_a_page_shows_the_commands_that_measure_it(page: str) -> None:
    """One line of measure.py for all its tables; another command is one that measures, word for word."""
    ours = [table for table in TABLES.values() if table.page == page]
    written = shown(ROOT / page)
    one_line = next(words for words in written if words[0] == "measure.py" and "--list" not in words)
    if not page.endswith("index.md"):
        named = [TABLES[word] for word in one_line[1:] if not word.startswith("-") and "=" not in word]
        missing = [table.name for table in ours if not set(table.commands) <= set(measure.commands_of(named))]
        assert missing == []
        assert {table.page for table in named} == {page}
    measuring = [
        ["DIR" if word.upper() == word and word.isalpha() else word for word in shlex.split(one.words)]
        for one in COMMANDS
    ]
    for words in written:
        generic = words[0] == "privacy.py" and words[1] == "RECIPE"
        assert words[0] == "measure.py" or generic or words in measuring, words


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no table is named; name some that --list prints, or --all"),
        (["famly"], "table 'famly': unknown; --list prints those that there are"),
        (
            ["masks", "ridge"],
            "table 'ridge': give --data xmarket=DIR, a folder that `fedrec data import xmarket-5core SRC",
        ),
        (["ridge", "--data", "market=x"], "--data 'market=x': write NAME=DIR with NAME one of xmarket, retail"),
        (["ridge", "--data", "xmarket=nowhere"], "--data 'xmarket=nowhere': no market ca there; `fedrec data import"),
    ],
)
def test_a_users_mistake_is_one_line(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith(complaint)
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_the_list_has_a_line_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TABLES)
    assert "docs/results/losses.md            python benchmarks/grid.py XMARKET" in "\n".join(lines)


def test_tables_of_a_command_that_fails_are_not_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started, filled = [], []

    def run(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        started.append([Path(words[1]).name, *words[2:]])
        return subprocess.CompletedProcess(words, int("ridge.py" in words[1]))

    def fill(chosen: Any) -> dict[str, str]:
        filled.extend(table.name for table in chosen)
        return {}

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(measure, "fill", fill)
    for market in commands.DATA["xmarket"].markets:
        (tmp_path / market).mkdir()
    assert measure.main(["family", "temporal", "ridge", "--data", f"xmarket={tmp_path}", "--jobs", "3"]) == 1
    assert [words[0] for words in started] == ["grid.py", "ridge.py"], "a command that two tables share runs once"
    assert started[0][1] == str(tmp_path)
    assert started[0][-2:] == ["--jobs", "3"]
    assert set(filled) >= {"family", "family-differences", "temporal", "newcomers", "headline", "readme"}
    assert "ridge" not in filled
    assert capsys.readouterr().err == "failed: python benchmarks/ridge.py XMARKET\n"


def test_a_dry_run_starts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(subprocess, "run", refuse_to_start)
    assert measure.main(["--all", "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(COMMANDS)


def test_renewed_rows_are_set_aside(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.append_rows("xmarket_methods", [{"protocol": "family"}])
    results.append_rows("masks", [{"markets": 7}])
    (results.WORK / "xmarket_methods" / "family-0.3-0").mkdir(parents=True)
    assert measure.main(["--renew", "family"]) == 0
    moved, affected = capsys.readouterr().out.splitlines()
    assert "protocol" in Path(moved).read_text(encoding="utf-8")
    assert {"family", "temporal-differences", "newcomers", "sensitivity", "readme"} <= set(affected.split())
    assert "losses" not in affected.split()
    assert [path.name for path in rows.iterdir()] == ["masks.csv"]
    assert not (results.WORK / "xmarket_methods").exists()


def test_a_measurement_that_has_begun_goes_on(rows: Path) -> None:
    results.append_rows("masks", [{"markets": 5}])
    results.UNFINISHED.mkdir()
    (results.UNFINISHED / "masks.csv").write_text("commit,markets\nabc1234,7\n")
    assert measure.main(["--renew", "masks"]) == 0
    assert [row["markets"] for row in results.read_rows("masks")] == ["7"]


def test_rows_of_the_same_measurement_are_replaced_and_columns_are_added(rows: Path) -> None:
    results.append_rows("some", [{"seed": 0, "market": "jp", "x": 1}, {"seed": 1, "market": "jp", "x": 2}], ["seed"])
    results.append_rows("some", [{"seed": 1, "market": "in", "x": 3, "y": 4}], ["seed"])
    found = [{name: value for name, value in row.items() if name != "commit"} for row in results.read_rows("some")]
    assert found == [
        {"seed": "0", "market": "jp", "x": "1", "y": ""},
        {"seed": "1", "market": "in", "x": "3", "y": "4"},
    ]
    assert results.measured("some", "seed", "market") == {("0", "jp"), ("1", "in")}


def test_a_grid_that_was_interrupted_goes_on_and_has_its_intervals(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second seed fails at first. In the end each seed was run once, and the intervals are over both."""
    grid, finished, broken = script("grid"), [], [True]

    def finish(folder: Path, *words: Any) -> dict[str, Any]:
        seed = words[words.index("--seed") + 1]
        if seed == "1" and broken.pop():
            broken.append(False)
            raise SystemExit("killed")
        finished.append(seed)
        (folder / "markets" / "jp").mkdir(parents=True)
        users = {"federated.ndcg@10": np.full(4, 0.5), "local.ndcg@10": np.full(4, 0.25)}
        save_file(users, folder / "markets" / "jp" / "per_user.safetensors")
        means = {"federated": {"ndcg@10": 0.5}, "local": {"ndcg@10": 0.25}}
        return {
            "markets": {"jp": {"results": means, "gain": {"ndcg@10": {"mean": 0.25, "low": 0.25, "high": 0.25}}}},
            "mean": means,
            "rounds": [{"drift": None}],
            "bytes": {"up": 1, "down": 1},
            "seconds": {"total": 1},
            "peak_rss_mb": 1,
        }

    monkeypatch.setattr(grid, "finish", finish)
    words = "grid.py DIR --data small --protocols family --lams 0.3 --seeds 0,1 --jobs 1"
    monkeypatch.setattr(sys, "argv", shlex.split(words))
    with pytest.raises(SystemExit, match="killed"):
        grid.main()
    assert results.measured("small_runs", "seed") == {("0",)}
    assert results.read_rows("small_intervals") == []
    shutil.rmtree(results.WORK)  # another session goes on: it has the rows alone
    grid.main()
    assert finished == ["0", "1"]
    (interval,) = results.read_rows("small_intervals")
    assert {name: interval[name] for name in ("seeds", "market", "method", "other", "mean", "low")} == {
        "seeds": "2", "market": "jp", "method": "federated", "other": "local", "mean": "0.250000", "low": "0.250000",
    }  # fmt: skip
    assert list((results.WORK / "small").iterdir()) == []
    assert not results.path_of("small_users").exists(), "kept until the intervals are there"
    assert len(results.read_rows("small_gains")) == 2


def test_a_run_is_made_resumed_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, started = script("runs"), []

    def fedrec(*words: Any) -> None:
        started.append([str(word) for word in words])
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "summary.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(runs, "fedrec", fedrec)
    out = str(tmp_path / "run")
    runs.finish(tmp_path / "run", "run", "fecosr")
    runs.finish(tmp_path / "run", "run", "fecosr")
    assert started == [["run", "fecosr", "--out", out]]
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "manifest.json").write_text("{}", encoding="utf-8")
    runs.finish(tmp_path / "run", "run", "fecosr")
    assert started[1:] == [["run", "--resume", out]]
