"""Few markets that say how good the shared model is, the same ones all the time."""

from pathlib import Path

import pytest

from fedrec.clients import node
from fedrec.files import read_json_lines
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from fedrec.strategies.sampling import validating_markets
from tests.integration.harness import quick

FEW = ("federation.participation=0.34", "federation.validators=1", "evaluation.methods=[federated]")


def run(data: Path, out: Path, *overrides: str) -> tuple[dict[str, object], list[tuple[str, str]]]:
    asked: list[tuple[str, str]] = []
    recipe = quick("semantics.kind=hashing", *overrides)
    summary = prepare_simulation(recipe, data, out).start(lambda market, action: asked.append((market, action)))
    return summary, asked


def test_nobody_else_is_asked_in_a_round(synthetic: Path, tmp_path: Path) -> None:
    _, asked = run(synthetic, tmp_path / "run", *FEW, "federation.rounds=4")
    validator = validating_markets(["alfa", "bravo", "charlie"], 1, 0)
    assert {market for market, action in asked if action == "evaluate.validate"} == set(validator)
    trained = [market for market, action in asked if action == "train.pretrain"]
    assert len(trained) == 8  # two of three in each of four rounds
    (last,) = [event for event in read_json_lines(tmp_path / "run" / "events.jsonl") if event["event"] == "validated"]
    assert last["validation"] is not None


def test_with_everyone_there_no_further_question_is_needed(synthetic: Path, tmp_path: Path) -> None:
    """And the validator alone decides: all three markets as validators choose otherwise, or by other numbers."""
    _, asked = run(synthetic, tmp_path / "one", "federation.validators=1", "evaluation.methods=[federated]")
    assert [action for _, action in asked].count("evaluate.validate") == 1  # the last round's model
    everyone, _ = run(synthetic, tmp_path / "three", "federation.validators=3", "evaluation.methods=[federated]")
    null, _ = run(synthetic, tmp_path / "null", "evaluation.methods=[federated]")
    assert comparable(everyone) == comparable(null)


def test_a_process_holds_so_many_markets_and_the_figures_are_the_same(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, _ = run(synthetic, tmp_path / "many")
    monkeypatch.setattr(node, "_MARKETS", 1)
    monkeypatch.setattr(node, "_MEMORY", node._Memory())
    few, _ = run(synthetic, tmp_path / "few")
    assert comparable(few) == comparable(many)
    assert len(node._MEMORY._things) == 1
