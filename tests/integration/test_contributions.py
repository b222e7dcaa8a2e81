"""A federation with and without each market: what is compared, what is written, and where it is told."""

import csv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from fedrec.cli.main import app
from fedrec.errors import UserError
from fedrec.report.contributions import read_table
from fedrec.simulation.contributions import sweep_contributions
from tests.conftest import QUICK


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
        ("fecosr", "evaluation.catalogue=union", "evaluation: what is ranked"),
        ("fecosr", "evaluation.methods=[local]", "add federated"),
        ("fedmm", "seed=0", "sequential"),
    ],
)
def test_what_cannot_be_told_is_refused(recipe: str, override: str, said: str, synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        sweep_contributions(recipe, 1, [override], synthetic, tmp_path / "out", print)
