"""Everything that trains, on a device that is not the CPU: nothing mixes the two, and figures are what they are."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fedrec.cli.main import app
from fedrec.recipe import Recipe, load_recipe
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK
from tests.integration.harness import quick
from tests.integration.test_acmr import ACMR
from tests.integration.test_codes import CODES, FEDMM
from tests.integration.test_pointwise_federations import small
from tests.integration.test_ranker_scores import small as scored
from tests.other_device import NAME, There, other_device

BOTH = "evaluation.methods=[federated, local, pooled]"
ALONE = "evaluation.methods=[federated, local]"
ATTENTIVE = ("federation.rounds=2", "evaluation.protocol=temporal", "model.dropout=0")
PRIVATE = ("privacy.epsilon=8", "privacy.delta=0.0001", "semantics.kind=hashing", "evaluation.methods=[federated]")
RUNS = {  # not gru4rec and lightgcn: the device knows no transposing in place and no sparse tensors
    "transformer": quick(BOTH, "encoder.kind=transformer"),
    "bert4rec": quick(ALONE, "encoder.kind=bert4rec"),
    "nextitnet": quick(ALONE, "encoder.kind=nextitnet"),
    "gbce": quick(ALONE, "loss={kind: gbce}"),
    "bpr": quick(ALONE, "loss={kind: bpr}"),
    "pacer": quick(ALONE, "pacer.scales=loss", "pacer.alignment=0.1"),
    "fedprox": quick(ALONE, "training.proximal=0.1", "finetune.proximal=0.1"),
    "feddyn": quick(ALONE, "aggregator.kind=feddyn"),
    "graph of neighbours": quick(ALONE, "loss.exact_items=1"),
    "private": quick(*PRIVATE),
    "private, everything": quick(*PRIVATE, "privacy.trains=everything"),
    "codes": load_recipe("codes", [*QUICK, *CODES, ALONE]),
    **{
        f"fedmm, {kind}": load_recipe("fedmm", [*FEDMM, f"codes.alignment={kind}", ALONE])
        for kind in ("gram", "layered", "semantic", "procrustes", "none")
    },
    "fedmm, din": load_recipe("fedmm", [*FEDMM, "ctr.backbone=din", ALONE]),
    "fedmm, sequential": load_recipe("fedmm", [*FEDMM, "collaborative.source=sequential", ALONE]),
    "ranker": scored(),
    "acmr": load_recipe("acmr", [*ACMR, *ATTENTIVE, ALONE]),
    "neumf": small("neumf", "federation.rounds=2"),
    "mmoe": small("mmoe", "federation.rounds=2"),
}
QUICKLY = {"bert4rec", "private", "fedmm, semantic", "ranker"}


@pytest.mark.parametrize(
    "name", [name if name in QUICKLY else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_there_is_one_here(name: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(recipe: Recipe, folder: str) -> dict[str, dict[str, float]]:
        mean: dict[str, dict[str, float]] = prepare_simulation(recipe, synthetic, tmp_path / folder).start()["mean"]
        return mean

    training = RUNS[name].training.model_copy(update={"precision": "float32"})
    recipe = RUNS[name].model_copy(update={"training": training})
    here = run(recipe, "here")
    with other_device(monkeypatch):
        there = run(recipe, "there")
    assert json.loads((tmp_path / "there" / "summary.json").read_text())["device"] == NAME
    assert set(there) == set(here)
    for method, figures in here.items():  # attention and recurrence have other kernels, dropout other draws
        assert there[method] == pytest.approx(figures, abs=0.06), method


@pytest.mark.slow
def test_what_else_is_done_with_a_run(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recommending and the audit."""
    with other_device(monkeypatch):
        out = tmp_path / "run"
        prepare_simulation(quick(ALONE, "training.precision=float32"), synthetic, out).start()
        assert Recommender.open(out, "alfa").recommend(history=["item-00003"]).items
        result = CliRunner().invoke(app, ["audit", str(out)])
        assert result.exit_code == 0, result.output


def test_the_device_is_strict() -> None:
    here, there = torch.ones(3, requires_grad=True), There(torch.ones(3))
    with pytest.raises(RuntimeError, match="same device"):
        _ = here + there
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    assert torch.equal((there[torch.tensor([0, 1])] + torch.tensor(1.0)).cpu(), torch.full((2,), 2.0))
