"""fedrec from Python: the same figures as on the command line, and the examples as they are printed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedrec
from fedrec.cli.main import app, exit_code
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
