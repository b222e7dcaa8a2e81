"""``fedrec bench table3``: rows for every model, nothing made twice, and mistakes that are named."""

import csv
from pathlib import Path

import pytest

from fedrec.cli.main import app, exit_code
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.simulation.table3 import ENTRIES, bench, federations, runs
from fedrec.simulation.table3.rows import COLUMNS
from fedrec.training.pointwise import Settings

ONE_OF_EACH_KIND = ["baselines", "neumf", "bert4rec", "conet", "m3rec", "forec", "acmr-apart", "neumf-own", "fedease"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "data"
    write_synthetic_markets(folder, SynthSettings(markets=("in", "jp"), users=90, items=420, topics=8, seed=5))
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert exit_code(lambda: app(["bench", "table3", *arguments], standalone_mode=False)) == 2
    return capsys.readouterr().err


def whole(data: Path, rows: Path, names: list[str]) -> None:
    """Every model of the entries has a row in every market, with figures that can be."""
    list(bench(data, names, None, [0], rows, "abc", lambda _: None, settings=Settings(batch_size=200, epochs=1)))
    found = read(rows)
    wanted = {(model, market) for name in names for model in ENTRIES[name].models for market in ("in", "jp")}
    assert {(row["model"], row["market"]) for row in found} == wanted
    assert len(found) == len(wanted)
    assert {row["stamp"] for row in found} == {"abc"}
    for row in found:
        assert 0 <= float(row["ndcg@5"]) <= float(row["ndcg@10"]) <= float(row["recall@10"]) <= 1


def test_every_kind_of_model_leaves_its_rows(data: Path, tmp_path: Path) -> None:
    whole(data, tmp_path / "rows.csv", ONE_OF_EACH_KIND)


@pytest.mark.slow
def test_so_does_every_other(data: Path, tmp_path: Path) -> None:
    whole(data, tmp_path / "rows.csv", [name for name in ENTRIES if name not in ONE_OF_EACH_KIND])


def test_a_federation_that_was_interrupted_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped when its figures are read, the run is there whole; the next bench makes no other."""
    rows, quiet = tmp_path / "rows.csv", lambda _: None
    with monkeypatch.context() as patch:
        patch.setattr(federations, "load_file", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(bench(data, ["fedease"], None, [0], rows, "", quiet))
    (run,) = (tmp_path / "unfinished").iterdir()
    before = (run / "events.jsonl").read_bytes()
    monkeypatch.setattr(runs.shutil, "rmtree", lambda *_, **__: None)
    list(bench(data, ["fedease"], None, [0], rows, "", quiet))
    assert len(read(rows)) == 4
    assert list((tmp_path / "unfinished").iterdir()) == [run]
    assert (run / "events.jsonl").read_bytes() == before


def test_what_is_there_is_not_made_again_and_what_is_missing_is(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for one market first and for both later, the figures are those of asking for both at once."""
    command = ["bench", "table3", "--data", str(data), "--models", "baselines,wide-deep++", "--splits", "1"]
    for out, markets in (("parts", ["--markets", "jp"]), ("parts", []), ("parts", []), ("whole", [])):
        assert (
            exit_code(lambda o=out, m=markets: app([*command, *m, "--out", str(tmp_path / o)], standalone_mode=False))
            == 0
        )
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        "baselines, split 1: jp",
        "wide-deep++, split 1: jp",
        "baselines, split 1: in",
        "wide-deep++, split 1: in",
        "baselines, split 1: in, jp",
        "wide-deep++, split 1: in, jp",
    ]
    figures = [
        {(row["model"], row["market"]): row["ndcg@10"] for row in read(tmp_path / out / "rows.csv")}
        for out in ("parts", "whole")
    ]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 8
    assert "Wide&Deep++" in output.out
    assert "- published" in output.out
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"rows.csv", "table.csv", "table.md"}


def test_quick_is_japan_and_india_on_one_split(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path), "--models", "baselines", "--quick"]
    assert exit_code(lambda: app(["bench", "table3", "--data", str(data), *out], standalone_mode=False)) == 0
    assert capsys.readouterr().err == "baselines, split 0: in, jp\n"


def test_mistakes_are_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--data", str(data), "--out", str(tmp_path / "out")]
    assert "--models 'neumv': unknown; known: baselines, neumf" in complaint(capsys, *folder, "--models", "neumv")
    assert "--markets 'de': not in" in complaint(capsys, *folder, "--markets", "de", "--models", "baselines")
    assert "--splits 'a': write numbers" in complaint(capsys, *folder, "--splits", "a")
    assert "--data: name a folder" in complaint(capsys, "--models", "baselines")
    assert "--quick: is --markets in,jp" in complaint(capsys, *folder, "--quick", "--markets", "jp")
    rows = tmp_path / "out" / "rows.csv"
    rows.parent.mkdir()
    columns = ",".join(COLUMNS)
    for text in (
        "model,market\nNeuMF,jp\n",
        f"{columns}\nabc,0.1.0,Neu",
        f"{columns}\nabc,0.1.0,NeuMF,jp,0,high,.5,.5,.5,9,,,60\n",
    ):
        rows.write_text(text)
        assert f"{rows}: not rows of this table" in complaint(capsys, *folder, "--models", "baselines")
        assert rows.read_text() == text


def test_the_list_says_what_each_entry_gives(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        exit_code(lambda: app(["bench", "table3", "--data", str(data), "--models", "list"], standalone_mode=False)) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ENTRIES)
    assert "baselines       popularity, item-kNN, EASE" in lines


def test_a_name_of_the_version_before_is_read_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(FutureWarning, match="--models floors is called baselines now"):
        assert "--data: name a folder" in complaint(capsys, "--models", "floors")
