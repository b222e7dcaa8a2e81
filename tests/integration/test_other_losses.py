"""Every loss through a whole run, and under privacy those that keep users apart."""

from pathlib import Path

import pytest

from fedrec.components import components
from fedrec.data.store import open_stores
from fedrec.errors import UserError
from fedrec.recipe import Recipe, load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import QUICK

KINDS = [name for name, one in components("loss").items() if one.origin == "fedrec"]
PRIVATE = ("privacy.epsilon=8", "privacy.delta=0.0001", "semantics.kind=hashing", "evaluation.methods=[federated]")


def quick(*overrides: str) -> Recipe:
    """Without the keys of S2CE."""
    return load_recipe("fecosr", [*(words for words in QUICK if not words.startswith("loss.")), *overrides])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "s2ce"])
def test_a_run_with_another_loss(kind: str, synthetic: Path, tmp_path: Path) -> None:
    methods = "evaluation.methods=[federated, local]"
    summary = prepare_simulation(quick(f"loss.kind={kind}", methods), synthetic, tmp_path / "run").start()
    assert not summary["failed"]
    recipe = quick(f"loss.kind={kind}", "evaluation.protocol=temporal", "semantics.kind=hashing")
    trainer = SequentialTrainer.alone(recipe, PreparedMarket(open_stores(synthetic)[0], recipe))
    losses = [trainer.pretrain_round(number).loss for number in range(1, 6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("trains", ["encoder", "everything"])
def test_cross_entropy_goes_with_privacy(trains: str, synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("loss.kind=ce", f"privacy.trains={trains}", *PRIVATE)
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    assert [record["rejected"] for record in summary["rounds"]] == [[]] * len(summary["rounds"])


@pytest.mark.parametrize("kind", ["gbce", "bpr"])
def test_drawn_negatives_do_not(kind: str) -> None:
    with pytest.raises(UserError, match=f"loss.kind '{kind}' cannot keep one user's part of a step apart"):
        quick(f"loss.kind={kind}", *PRIVATE)
