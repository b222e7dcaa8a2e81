"""Comparisons against computations of their own: other formulas, other ways of reading the run folders."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy import stats

from fedrec.errors import UserError
from fedrec.metrics.significance import holm, paired_t
from fedrec.recipe import load_recipe
from fedrec.report.comparison import MEAN, compare
from fedrec.report.comparison_page import answer, write_comparison
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK

SEEDS, METRIC = (0, 1, 2), "ndcg@10"
WITH, WITHOUT = "fecosr loss.lam=0.3", "fecosr loss.lam=0.0"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> dict[tuple[str, int], Path]:
    folder = tmp_path_factory.mktemp("compared")
    made = {}
    for lam, seed in product(("0.3", "0"), SEEDS):
        recipe = load_recipe("fecosr", [*QUICK, f"loss.lam={lam}", f"seed={seed}", "evaluation.methods=[federated]"])
        made[lam, seed] = folder / f"lam-{lam}-seed-{seed}"
        prepare_simulation(recipe, synthetic, made[lam, seed]).start()
    return made


def users(path: Path, market: str) -> np.ndarray:
    """A metric per user, in the order of users' numbers."""
    arrays = load_file(path / "markets" / market / "per_user.safetensors")
    return np.asarray(arrays[f"federated.{METRIC}"][np.argsort(arrays["users"])])


def summary(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return read


def result(path: Path, market: str) -> float:
    return float(summary(path)["markets"][market]["results"]["federated"][METRIC])


def test_means_and_spreads(runs: dict[tuple[str, int], Path]) -> None:
    found = compare(list(runs.values()))
    assert {entry.label for entry in found.entries} == {WITH, WITHOUT}
    for entry in found.entries:
        lam = "0.3" if entry.label == WITH else "0"
        means = [summary(runs[lam, seed])["mean"]["federated"][METRIC] for seed in SEEDS]
        assert entry.average(MEAN, METRIC) == pytest.approx(np.mean(means))
        assert entry.spread(METRIC) == pytest.approx(np.std(means, ddof=1))
        sent = [summary(runs[lam, seed])["bytes"]["up"] for seed in SEEDS]
        assert entry.cost("megabytes") == pytest.approx(np.mean(sent) / 1e6)
    best, second = (entry.average(MEAN, METRIC) for entry in found.entries)
    assert best is not None
    assert second is not None
    assert best >= second
    assert found.differing == {"loss.lam": [entry.label.partition("=")[2] for entry in found.entries]}


def test_tests_are_scipys_on_the_files_themselves(runs: dict[tuple[str, int], Path]) -> None:
    found = compare(list(runs.values()))
    first, second = ("0.3" if entry.label == WITH else "0" for entry in found.entries)
    expected = []
    for market in ("alfa", "bravo", "charlie"):
        left, right = (np.mean([users(runs[lam, seed], market) for seed in SEEDS], axis=0) for lam in (first, second))
        p = (
            1.0 if (left == right).all() else stats.ttest_rel(left, right).pvalue
        )  # scipy's is nan: nothing to divide by
        expected.append((market, len(left), left.mean() - right.mean(), p))
    sides = [
        [np.mean([result(runs[lam, seed], market) for seed in SEEDS]) for market in found.markets]
        for lam in (first, second)
    ]
    expected.append((MEAN, 3, np.mean(sides[0]) - np.mean(sides[1]), stats.ttest_rel(*sides).pvalue))
    assert [(one.market, one.count) for one in found.differences] == [(one[0], one[1]) for one in expected]
    np.testing.assert_allclose([one.mean for one in found.differences], [one[2] for one in expected], atol=1e-12)
    np.testing.assert_allclose([one.p for one in found.differences], [one[3] for one in expected], rtol=1e-9)
    adjusted = step_down([one[3] for one in expected])
    np.testing.assert_allclose([one.adjusted for one in found.differences], adjusted, rtol=1e-9)


def step_down(values: list[float]) -> list[float]:
    """Holm by its definition, from the smallest on: the level at which each would still be rejected."""
    levels = []
    for value in values:
        smaller = [other for other in values if other <= value]
        levels.append(max(min(1.0, other * sum(o >= other for o in values)) for other in smaller))
    return levels


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=12, unique=True))
def test_holm(values: list[float]) -> None:
    np.testing.assert_allclose(holm(values), step_down(values))
    assert all(adjusted >= value for adjusted, value in zip(holm(values), values, strict=True))


def test_nothing_known_and_nothing_different() -> None:
    nan = float("nan")
    assert np.isnan(holm([0.02, nan])[1])
    assert holm([0.02, nan])[0] == 0.02
    assert np.isnan(paired_t(np.array([0.1])))
    assert paired_t(np.zeros(5)) == 1.0


def test_the_page_and_its_data(runs: dict[tuple[str, int], Path], tmp_path: Path) -> None:
    found = compare(list(runs.values()))
    page = write_comparison(tmp_path, found).read_text(encoding="utf-8")
    assert WITH in page
    assert found.entries[0].label in answer(found).partition(" has ")[0]
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 3 * 4
    for row in rows:
        lam = "0.3" if row["entry"] == WITH else "0"
        read = summary(runs[lam, int(row["seed"])])
        where = read["mean"] if row["market"] == MEAN else read["markets"][row["market"]]["results"]
        assert float(row[METRIC]) == where["federated"][METRIC]
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("quality", "cost") for kind in ("svg", "png", "csv")
    }


def test_without_values_per_user_markets_are_paired(runs: dict[tuple[str, int], Path], tmp_path: Path) -> None:
    """As after a deployment: what single users got stays on the markets' hosts."""
    copies = []
    for (lam, seed), path in runs.items():
        copies.append(tmp_path / f"{lam}-{seed}")
        shutil.copytree(path, copies[-1])
        for file in copies[-1].glob("markets/*/per_user.safetensors"):
            file.unlink()
    found = compare(copies)
    assert [(one.market, one.count, np.isnan(one.p)) for one in found.differences] == [
        ("alfa", 1, True),
        ("bravo", 1, True),
        ("charlie", 1, True),
        (MEAN, 3, False),
    ]


def test_users_are_paired_by_their_numbers(runs: dict[tuple[str, int], Path], tmp_path: Path) -> None:
    """The same users in another order are the same users."""
    shuffled = tmp_path / "shuffled"
    shutil.copytree(runs["0.3", 0], shuffled)
    path = shuffled / "markets" / "alfa" / "per_user.safetensors"
    arrays = load_file(path)
    order = np.random.default_rng(0).permutation(len(arrays["users"]))
    save_file({name: np.ascontiguousarray(values[order]) for name, values in arrays.items()}, path)
    with pytest.raises(UserError, match=r"alfa/per_user\.safetensors: not what the run left"):
        _ = compare([shuffled, runs["0", 0]]).differences
    sealed = json.loads((path.parent / "seal.json").read_text())
    sealed[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "seal.json").write_text(json.dumps(sealed))
    straight, turned = (compare([left, runs["0", 0]]).differences[0] for left in (runs["0.3", 0], shuffled))
    assert turned.p == pytest.approx(straight.p)


def test_what_cannot_be_compared(runs: dict[tuple[str, int], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two runs or more"):
        compare([runs["0", 0]])
    with pytest.raises(UserError, match="same recipe and seed"):
        compare([runs["0", 0], runs["0", 0]])
    with pytest.raises(UserError, match="no mrr@7"):
        compare([runs["0", 0], runs["0.3", 0]], "mrr@7")
    data = spoilt(runs["0", 0], tmp_path / "data", lambda manifest: manifest["data"]["hashes"].update(bravo="0" * 64))
    with pytest.raises(UserError, match="market 'bravo' holds other data"):
        compare([runs["0", 0], data])
    question = tmp_path / "question"
    shutil.copytree(runs["0.3", 0], question)
    text = (question / "recipe.yaml").read_text()
    (question / "recipe.yaml").write_text(text.replace("ties: source", "ties: random"))
    with pytest.raises(UserError, match=r"evaluation.ties is 'random'"):
        compare([runs["0", 0], question])


def test_a_market_that_one_run_lacks_is_in_no_mean(runs: dict[tuple[str, int], Path], tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(runs["0", 0], lacking)
    made = summary(lacking)
    made["markets"]["bravo"]["results"] = {}
    (lacking / "summary.json").write_text(json.dumps(made))
    found = compare([lacking, runs["0.3", 0]])
    for entry in found.entries:
        (run,) = entry.runs.values()
        expected = (result(run.path, "alfa") + result(run.path, "charlie")) / 2
        assert entry.average(MEAN, METRIC) == pytest.approx(expected)
    assert "Means are over alfa, charlie" in answer(found)


def test_a_run_and_what_its_page_says_to_repeat_are_seeds_of_one_recipe(
    runs: dict[tuple[str, int], Path], tmp_path: Path, synthetic: Path
) -> None:
    """The page names the resolved recipe, the first run was given one with ``auto``."""
    again = load_recipe(str(runs["0", 0] / "recipe.yaml"), ["seed=7"])
    assert again.evaluation.protocol != "auto"
    prepare_simulation(again, synthetic, tmp_path / "again").start()
    (entry,) = compare([runs["0", 0], tmp_path / "again"]).entries
    assert sorted(entry.runs) == [0, 7]


def spoilt(run: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy
