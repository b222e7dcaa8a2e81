"""fedrec from Python: the same figures as on the command line, and the examples as they are printed."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import fedrec
from fedrec.cli.main import app, exit_code
from fedrec.data.store import open_store
from fedrec.errors import UserError
from tests.conftest import QUICK

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> fedrec.Run:
    return fedrec.run("fecosr", data=synthetic, out=tmp_path_factory.mktemp("api") / "run", overrides=QUICK)


def test_a_run_is_the_command_lines(run: fedrec.Run, synthetic: Path, tmp_path: Path) -> None:
    words = ["run", "fecosr", "--data", str(synthetic), "--out", str(tmp_path / "run")]
    words += [word for setting in QUICK for word in ("--set", setting)]
    assert exit_code(lambda: app(words, standalone_mode=False)) == 0
    there = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert there["mean"] == run.summary["mean"]
    assert (run.path / "report.html").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_figures_as_tables(run: fedrec.Run) -> None:
    results = run.results()
    assert results.columns == ["market", "method", "metric", "value"]
    one = results.filter(market="bravo", method="federated", metric="recall@20")["value"].item()
    assert one == run.summary["markets"]["bravo"]["results"]["federated"]["recall@20"]
    gains = run.differences().filter(method="federated", other="local", metric="ndcg@10")
    assert gains["market"].to_list() == run.markets == ["alfa", "bravo", "charlie"]
    assert gains["low"].to_list() == [run.summary["markets"][name]["gain"]["ndcg@10"]["low"] for name in run.markets]
    assert run.events()[0]["event"] == "started"


def test_one_recommender_answers_many_questions_alike(run: fedrec.Run) -> None:
    recommender = run.recommender("alfa")
    first, _, again = (
        recommender.recommend(history, k=5) for history in (["item-00003"], ["item-00009"], ["item-00003"])
    )
    assert first == again
    assert first == fedrec.load_run(run.path).recommender("alfa").recommend(["item-00003"], k=5)
    assert "item-00003" not in {item.item for item in first.items}
    assert len(first.items) == 5


def test_rounds_ledger_and_users_as_tables(run: fedrec.Run) -> None:
    rounds = run.rounds()
    assert rounds["round"].to_list() == [one["round"] for one in run.summary["rounds"]]
    assert rounds["accepted"].to_list() == [3] * len(rounds)
    ledger = run.ledger()
    assert ledger["bytes"].sum() > rounds["bytes_up"].sum() * 0.5
    assert set(ledger["market"]) == {"alfa", "bravo", "charlie"}
    users = run.per_user("bravo")
    assert len(users) == run.summary["markets"]["bravo"]["evaluated_users"]
    wanted = run.summary["markets"]["bravo"]["results"]["federated"]["ndcg@10"]
    assert users["federated.ndcg@10"].mean() == pytest.approx(wanted)
    with pytest.raises(UserError, match="it has alfa, bravo, charlie"):
        run.per_user("zulu")


def interactions(synthetic: Path) -> pl.DataFrame:
    parts = [open_store(synthetic / name).interactions.with_columns(market=pl.lit(name)) for name in ("alfa", "bravo")]
    frame = pl.concat(parts).select(user="user_id", item="item_id", time="timestamp", market="market")
    return frame.with_columns(pl.from_epoch("time"))


class Streams:
    """Like a frame of another library: nothing but its Arrow stream."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("as_given", [lambda frame: frame, pl.DataFrame.lazy, Streams], ids=["frame", "lazy", "arrow"])
def test_a_frame_is_a_data_folder(as_given: Callable[[pl.DataFrame], Any], synthetic: Path, tmp_path: Path) -> None:
    report = fedrec.import_frame(as_given(interactions(synthetic)), tmp_path / "data")
    assert report.markets == ("alfa", "bravo")
    for name in report.markets:
        ours, theirs = (open_store(folder / name).interactions for folder in (tmp_path / "data", synthetic))
        keys = ["user_id", "item_id", "timestamp"]
        assert ours.select(keys).sort(keys).equals(theirs.select(keys).sort(keys))


def test_a_run_takes_a_frame(synthetic: Path, tmp_path: Path) -> None:
    overrides = {"evaluation.methods": ["popularity"], "evaluation.protocol": "temporal"}
    found = fedrec.run("baselines", interactions(synthetic), tmp_path / "one", overrides)
    fedrec.import_frame(interactions(synthetic), tmp_path / "data")
    other = fedrec.run("baselines", tmp_path / "data", tmp_path / "two", overrides)
    assert found.summary["mean"] == other.summary["mean"]
    assert (tmp_path / "one-data" / "alfa" / "market.yaml").is_file()


@pytest.mark.parametrize(
    ("frame", "words", "said"),
    [
        (pl.DataFrame({"user": ["a"], "item": ["b"]}), {}, "columns: which one is the time?"),
        (pl.DataFrame({"user": ["a"], "item": ["b"], "time": [1]}), {}, "give market='NAME'"),
        (pl.DataFrame({"a": ["a"]}), {"columns": {"user": "b", "item": "a", "time": "a"}}, "user='b': no such column"),
        (pl.DataFrame({"a": ["a"]}), {"columns": {"usr": "a"}}, "'usr' is no role"),
        ([1, 2], {}, "a list is no data frame"),
    ],
)
def test_what_is_no_frame_of_interactions(frame: Any, words: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        fedrec.import_frame(frame, tmp_path / "data", **words)
    assert not (tmp_path / "data").exists()


def test_a_frame_that_makes_no_run_leaves_nothing(tmp_path: Path) -> None:
    few = pl.DataFrame({"user": ["a"], "item": ["b"], "time": [1_600_000_000], "market": ["jp"]})
    for _ in range(2):
        with pytest.raises(UserError, match="no user has 3 items"):
            fedrec.run("baselines", few, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_went_wrong_is_said_in_python(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a"], "item": [None], "time": [1_600_000_000], "market": ["jp"]})
    for words in ({}, {"timezone": "Mars"}, {"min_users": "3"}, {"time_format": "%Y"}):
        with pytest.raises(UserError) as error:
            fedrec.import_frame(frame, tmp_path / "data", **words)
        assert "--" not in str(error.value)
    with pytest.raises(UserError, match="frame: cannot be read"):
        fedrec.import_frame(frame.lazy().select("nothing"), tmp_path / "data")


def test_a_run_without_rounds_has_their_columns(synthetic: Path, tmp_path: Path) -> None:
    found = fedrec.run("baselines", synthetic, tmp_path / "run", {"evaluation.methods": ["popularity"]})
    assert found.rounds().columns[:2] == ["stage", "round"]
    assert len(found.rounds()) == 0


def test_overrides_by_name_and_by_word(synthetic: Path, tmp_path: Path) -> None:
    named = {"evaluation.methods": ["popularity"], "data.markets": ["alfa", "bravo"], "seed": 3}
    first = fedrec.run("baselines", synthetic, tmp_path / "named", named)
    words = ["evaluation.methods=[popularity]", "data.markets=[alfa, bravo]", "seed=3"]
    recipe = fedrec.load_recipe("baselines", words)
    second = fedrec.run(recipe, synthetic, tmp_path / "words")
    assert first.recipe == second.recipe
    assert first.summary["mean"] == second.summary["mean"]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        fedrec.load_run(tmp_path)
    with pytest.raises(UserError, match="on their own hosts"):
        fedrec.run(overrides={"engine.kind": "deploy"}, out=tmp_path / "run")


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example(example: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / example), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"for alfa-00000, by federated: \['item-\d+', 'item-\d+', 'item-\d+'\]", done.stdout)
