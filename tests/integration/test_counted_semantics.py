"""Semantics of somebody else's that are made of summed pair counts: in the open, under masks, and under privacy."""

from pathlib import Path

import numpy as np
import pytest

from fedrec.components import CountedSemantics, CountedSettings, registry
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.recipe import load_recipe
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from tests.conftest import quickly


class RootsSettings(CountedSettings):
    kind: str = "roots"


class Roots(CountedSemantics):
    """Columns of the commonest items, by the root of the count."""

    Settings = RootsSettings

    def vectors(self, counts):
        matrix = np.sqrt(counts.matrix().toarray())
        largest = np.argsort(-matrix.sum(axis=0), kind="stable")[: self.dimension]
        result = np.zeros((counts.size, self.dimension), np.float32)
        result[:, : len(largest)] = matrix[:, largest]
        return result


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("semantics", "roots", Roots)


def chosen(*overrides: str) -> list[str]:
    return quickly("semantics.kind=roots", "evaluation.methods=[federated, local, pooled]", *overrides)


@pytest.mark.parametrize("more", [(), ("masks.enabled=true",)], ids=["open", "masked"])
def test_a_run_on_counts(more: tuple[str, ...], registered: None, synthetic: Path, tmp_path: Path) -> None:
    recipe = load_recipe("fecosr", chosen(*more))
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    assert not summary["failed"]
    assert {"federated", "local", "pooled"} <= set(summary["mean"])
    lines = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    assert any(line["action"] == "query.catalogue" for line in lines)
    assert Recommender.open(tmp_path / "run", "alfa").recommend(history=["item-00003"]).items


def test_under_privacy_the_pairs_are_noised(registered: None, synthetic: Path, tmp_path: Path) -> None:
    private = ("privacy.epsilon=8", "privacy.delta=1e-4", "privacy.accountant=rdp", "evaluation.methods=[federated]")
    recipe = load_recipe("fecosr", quickly("semantics.kind=roots", *private))
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    lines = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    counted = [line for line in lines if line["action"] == "query.catalogue" and line["kind"] == "array"]
    assert counted
    assert all("noise" in line["provenance"] for line in counted)


def test_single_users_pairs_stay_whatever_the_recipe_says(registered: None) -> None:
    with pytest.raises(UserError, match=r"semantics\.min_count"):
        load_recipe("fecosr", chosen("semantics.min_count=1"))
