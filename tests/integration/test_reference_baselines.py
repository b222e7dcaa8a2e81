"""The baselines on real data against figures measured elsewhere (the project's reference, one split, no tuning)."""

import json
from pathlib import Path

import pytest

from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation

MARKETS = ("de", "jp", "in", "fr", "ca", "mx", "uk")
REFERENCE = {
    "family": {
        "popularity": (0.0634, 0.0704, 0.0557, 0.0493, 0.0408, 0.0950, 0.0688),
        "ease": (0.0657, 0.0669, 0.0735, 0.0469, 0.0398, 0.0705, 0.0737),
    },
    "temporal": {
        "popularity": (0.046, 0.060, 0.365, 0.030, 0.038, 0.370, 0.123),
        "ease": (0.2850, 0.2771, 0.4711, 0.2878, 0.1819, 0.5422, 0.2971),
    },
}
TOLERANCE = 0.004


@pytest.mark.parametrize(("protocol", "lam"), [("family", 100), pytest.param("temporal", 10, marks=pytest.mark.slow)])
def test_popularity_and_plain_ease(protocol: str, lam: int, xmarket: Path, tmp_path: Path) -> None:
    """EASE at one fixed lambda, no popularity, no recency: a different split or tie order would show at once."""
    recipe = load_recipe(
        "baselines", [f"evaluation.protocol={protocol}", f"ease.lambdas=[{lam}]", "ease.popularity_weights=[0]"]
    )
    prepare_simulation(recipe, xmarket, tmp_path / "run").start()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for method, figures in REFERENCE[protocol].items():
        for market, expected in zip(MARKETS, figures, strict=True):
            found = summary["markets"][market]["results"][method]["ndcg@10"]
            assert abs(found - expected) < TOLERANCE, (market, method, found, expected)
