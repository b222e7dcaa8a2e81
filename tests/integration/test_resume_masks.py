"""Masked runs that are stopped in the middle of a sum and taken up again: the same sums, and the same bytes."""

from pathlib import Path

import pytest

from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.conftest import QUICK
from tests.integration.harness import Stopping
from tests.integration.test_codes import fedmm

ADAM = "aggregator.kind=fedadam"  # has moments, which the markets follow too


def sequential() -> Recipe:
    own = ["semantics.kind=cooccurrence", "evaluation.methods=[federated]", "masks.enabled=true", ADAM]
    return load_recipe("fecosr", [*QUICK, *own])


def codes() -> Recipe:
    return fedmm("codes.alignment=gram", "evaluation.methods=[federated]", "masks.enabled=true", ADAM)


def ranker() -> Recipe:
    small = ["algorithm.hidden=8", "federation.rounds=3", "ease.lambdas=[10]", "scores.kind=none"]
    return load_recipe("ranker", [*small, "evaluation.methods=[federated]", "masks.enabled=true", ADAM])


RECIPES = {"fecosr": sequential, "fedmm": codes, "ranker": ranker}


@pytest.fixture(scope="module")
def whole(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nobody stopped."""
    found = {name: tmp_path_factory.mktemp("whole") / name for name in RECIPES}
    for name, recipe in RECIPES.items():
        prepare_simulation(recipe(), synthetic, found[name]).start()
    return found


@pytest.mark.parametrize(
    ("name", "action", "number"),
    [
        ("fecosr", "query.unmask", 0),  # of the item pairs
        ("fecosr", "query.mask_shares", 2),
        ("fecosr", "train.pretrain", 2),
        ("fecosr", "query.unmask", 2),
        ("fecosr", "query.mask_keys", 3),
        ("fedmm", "train.codebook", 2),
        ("fedmm", "query.unmask", 2),
        ("ranker", "query.unmask", 0),  # of the statistics
        ("ranker", "query.unmask", 2),
        ("ranker", "train.refit", 1),
    ],
)
def test_a_stopped_run_ends_as_if_nothing_had_happened(
    name: str, action: str, number: int, whole: dict[str, Path], synthetic: Path, tmp_path: Path
) -> None:
    recipe, out = RECIPES[name](), tmp_path / "run"
    stopping = Stopping(action, number)
    with pytest.raises(KeyboardInterrupt):
        prepare_simulation(recipe, synthetic, out).start(client_app=stopping)
    assert stopping.seen == 2
    summary = resume_simulation(out).start()
    assert [record["rejected"] for record in summary["rounds"]] == [[]] * len(summary["rounds"])
    model = Path("shared") / ("codebook/model.safetensors" if name == "fedmm" else "model.safetensors")
    assert (out / model).read_bytes() == (whole[name] / model).read_bytes()


def test_markets_follow_every_round_and_the_ledger_has_no_refusal(whole: dict[str, Path]) -> None:
    for out in whole.values():
        lines = read_json_lines(out / "ledger.jsonl")
        assert not [line for line in lines if line["name"] == "error"]
        assert len({line["round"] for line in lines if line["action"].startswith("train.")}) > 2
