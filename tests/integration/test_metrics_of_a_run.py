"""Metrics that a recipe chooses: they leave every market, stand in the summary, and no others do."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fedrec.components import ComponentSettings, Metric, registry
from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import REPORT
from fedrec.exchange.payload import Payload
from fedrec.exchange.reply import reason_to_distrust
from fedrec.recipe import load_recipe
from fedrec.report.words import headline_metric, lower_is_better
from fedrec.simulation.run import prepare_simulation
from tests.integration.harness import quick


class Depth(Metric):
    """Rank of the best held-out item, cut at 100: less is better."""

    class Settings(ComponentSettings):
        kind: str = "depth"
        scale: float = 1.0

    bounds = (0.0, 100.0)
    higher_is_better = False
    sees_lists = False

    def __call__(self, ranked):
        best = np.full(int(ranked.rows[-1]) + 1, 100.0)
        np.minimum.at(best, ranked.rows, np.minimum(ranked.ranks, 100.0))
        return best * self.settings.scale


@pytest.fixture
def depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("metric", "depth", Depth)


METHODS = "evaluation.methods=[federated, popularity]"


@pytest.mark.usefixtures("depth")
def test_chosen_metrics_at_chosen_cutoffs(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("evaluation.metrics=[novelty, depth]", "evaluation.cutoffs=[5]", METHODS)
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    assert not summary["failed"]
    assert set(summary["mean"]["federated"]) == {"novelty@5", "depth@5"}
    assert headline_metric(summary) in {"novelty@5", "depth@5"}
    assert lower_is_better("depth@5")
    assert not lower_is_better("novelty@5")
    low, high = (
        summary["markets"]["alfa"]["differences"]["federated"]["popularity"]["depth@5"][x] for x in ("low", "high")
    )
    assert -100 <= low <= high <= 100
    assert {"depth@5", "novelty@5"} <= {name.partition(".")[2] for name in _sent(tmp_path / "run")}


def _sent(run: Path) -> set[str]:
    lines = map(json.loads, (run / "ledger.jsonl").read_text().splitlines())
    return {one["name"] for one in lines if one["action"] == REPORT}


@pytest.mark.usefixtures("depth")
def test_a_value_out_of_bounds_leaves_no_market(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("evaluation.metrics=[{kind: depth, scale: -1}]", METHODS)
    with pytest.raises(RunError, match=re.escape("metric 'depth': a value is not in its bounds, [0, 100]")):
        prepare_simulation(recipe, synthetic, tmp_path / "run").start()


def test_a_metric_that_nobody_knows_is_refused_by_the_coordinator() -> None:
    assert reason_to_distrust(Payload(scalars={"federated.ndcg@10": 0.5}), REPORT) is None
    for name in ("federated.secrets@10", "difference.federated.local.secrets@10.mean"):
        assert reason_to_distrust(Payload(scalars={name: 0.5}), REPORT) is not None
    assert reason_to_distrust(Payload(scalars={"federated.novelty@10": 65.0}), REPORT) is not None


def test_names_in_a_list_end_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"evaluation.metrics.1.kind: 'ndgc' is no metric; did you mean 'ndcg'"):
        load_recipe("fecosr", ["evaluation.metrics=[recall, ndgc]"])
    with pytest.raises(UserError, match=r"unknown key 'evaluation.metrics.0.cut'"):
        load_recipe("fecosr", ["evaluation.metrics=[{kind: ndcg, cut: 3}]"])
