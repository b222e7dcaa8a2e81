"""A federation with and without each market: what is compared, what is written, and where it is told."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from fedrec.cli.main import app
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.report.contributions import Effect, read_table, sentences
from fedrec.simulation.contributions import sweep_contributions
from tests.conftest import QUICK, quickly


@pytest.fixture(scope="module")
def swept(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("contributions") / "sweep"
    words = ["sweep", "contributions", "fecosr", "--data", str(synthetic), "--out", str(out), "--seeds", "2"]
    result = CliRunner().invoke(app, [*words, *(f"--set={one}" for one in QUICK)])
    assert result.exit_code == 0, result.output
    assert "alfa" in result.output
    return out


def of(run: Path, market: str, method: str) -> np.ndarray:
    return load_file(run / "markets" / market / "per_user.safetensors")[f"{method}.ndcg@10"]


def test_every_figure_is_a_mean_of_paired_differences(swept: Path) -> None:
    effects = {(one.without, one.market): one for one in read_table(swept)}
    markets = ("alfa", "bravo", "charlie")
    runs = swept / "runs"

    def expected(without: str | None, market: str) -> float:
        found = []
        for seed in (0, 1):
            whole = runs / f"all-seed-{seed}"
            other = whole if without is None else runs / f"without-{without}-seed-{seed}"
            less = of(other, market, "local" if without is None else "federated")
            found.append(np.mean(of(whole, market, "federated") - less))
        return float(np.mean(found))

    pairs = [(without, market) for without in (None, *markets) for market in markets if market != without]
    assert set(effects) == {*pairs, *((without, "mean") for without in (None, *markets))}
    for without, market in pairs:
        assert effects[without, market].mean == pytest.approx(expected(without, market), abs=1e-6)
    for without in (None, *markets):
        own = [expected(without, market) for market in markets if market != without]
        assert effects[without, "mean"].mean == pytest.approx(np.mean(own), abs=1e-6)
    assert all(one.low <= one.mean <= one.high for one in effects.values())


def test_a_market_that_is_left_out_takes_no_part(swept: Path) -> None:
    assert not (swept / "runs" / "without-bravo-seed-0" / "markets" / "bravo").exists()


def test_it_is_told_in_a_page_and_in_the_report_of_the_whole(swept: Path) -> None:
    for page in (swept / "index.html", swept / "runs" / "all-seed-0" / "report.html"):
        text = page.read_text()
        assert "What each market gets and gives" in text
        assert "bravo" in text
    with (swept / "figures" / "contributions.csv").open() as stream:
        assert {(row["market"], row["what"]) for row in csv.DictReader(stream)} == {
            (market, what) for market in ("alfa", "bravo", "charlie") for what in ("gets", "gives")
        }


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("fecosr", "data.markets=[alfa, bravo]", "2 markets: without one"),
        ("fecosr", "data.markets=[alfa, bravo, nowhere]", "data.markets: nowhere not in"),
        ("fecosr", "evaluation.catalogue=union", "evaluation: what is ranked"),
        ("fecosr", "evaluation.methods=[local]", "add federated"),
        ("fedmm", "seed=0", "sequential"),
    ],
)
def test_what_cannot_be_told_is_refused(recipe: str, override: str, said: str, synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        sweep_contributions(recipe, 1, [override], synthetic, tmp_path / "out", print)


def test_what_auto_comes_to_is_that_of_all_markets(synthetic: Path, tmp_path: Path) -> None:
    """With a market without texts all count pairs; without it the others would hash their texts."""
    data = shutil.copytree(synthetic, tmp_path / "data")
    store = open_store(data / "charlie")
    rows, resolution = store.interactions, store.time_resolution
    shutil.rmtree(data / "charlie")
    write_store(data / "charlie", "charlie", rows, source="a test", time_resolution=resolution)
    settings = quickly("federation.rounds=1", "finetune.epochs=0")
    sweep_contributions("fecosr", 1, settings, data, tmp_path / "out", lambda _: None)
    kinds = {
        run.name: load_recipe(str(run / "recipe.yaml")).semantics.kind for run in (tmp_path / "out" / "runs").iterdir()
    }
    assert len(kinds) == 4
    assert set(kinds.values()) == {"cooccurrence"}


def test_a_market_that_is_called_as_the_mean_is_refused(synthetic: Path, tmp_path: Path) -> None:
    data = shutil.copytree(synthetic, tmp_path / "data")
    store = open_store(data / "charlie")
    write_store(data / "mean", "mean", store.interactions, source="a test", time_resolution=store.time_resolution)
    with pytest.raises(UserError, match="'mean' is"):
        sweep_contributions("fecosr", 1, [], data, tmp_path / "out", print)


def test_a_model_that_failed_is_named(swept: Path, tmp_path: Path) -> None:
    """Its figures are missing in what the market keeps of its users."""
    out = shutil.copytree(swept, tmp_path / "sweep")
    path = out / "runs" / "without-bravo-seed-0" / "markets" / "alfa" / "per_user.safetensors"
    rest = {name: array for name, array in load_file(path).items() if not name.startswith("federated.")}
    save_file(rest, path)
    with pytest.raises(UserError, match="no figures of federated, which failed there"):
        sweep_contributions("fecosr", 2, QUICK, synthetic_of(out), out, lambda _: None)


def synthetic_of(out: Path) -> Path:
    """The data that a sweep was begun on."""
    return Path(json.loads((out / "sweep.json").read_text())["data"])


def test_words_have_the_sign_of_what_they_say() -> None:
    effects = [
        Effect(None, "alfa", -0.01, -0.03, 0.02),
        Effect(None, "bravo", 0.02, 0.01, 0.03),
        Effect("alfa", "mean", 0.005, 0.001, 0.01),
        Effect("bravo", "mean", -0.02, -0.03, -0.01),
    ]
    first, second = sentences(effects)
    assert "alfa loses 0.0100 NDCG@10 (-0.0200 to +0.0300, which may be chance) by taking part" in first
    assert "the others lose 0.0050 NDCG@10 (+0.0010 to +0.0100) in the mean" in first
    assert "bravo gains 0.0200 NDCG@10 (+0.0100 to +0.0300) by taking part" in second
    assert "the others gain 0.0200 NDCG@10 (+0.0100 to +0.0300) in the mean" in second
