"""The black-box audit: a market's own answers hold what is stated, and a mechanism that leaks is caught by them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.attacks.black_box import best_threshold, counted, fitted
from fedrec.cli.main import app, exit_code
from fedrec.components.encoder import Encoder
from fedrec.errors import UserError
from fedrec.models.dropout import EncoderMasks
from fedrec.privacy.accounting import epsilon
from fedrec.privacy.release import Release
from fedrec.recipe import load_recipe
from fedrec.report.audit import is_broken
from fedrec.simulation.black_box import audit_answers
from fedrec.simulation.run import prepare_simulation
from fedrec.training import private
from fedrec.training.private import PrivateSteps
from tests.conftest import QUICK

RUNS = 60


def run(data: Path, out: Path, *overrides: str) -> Path:
    own = ["privacy.epsilon=1", "privacy.batch_size=1000", "privacy.accountant=rdp", "federation.rounds=1"]
    kind = ["evaluation.protocol=temporal", "evaluation.methods=[federated]"]
    prepare_simulation(load_recipe("fecosr", [*QUICK, *own, *kind, *overrides]), data, out).start()
    return out


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(synthetic, tmp_path_factory.mktemp("black box") / "run", "semantics.kind=cooccurrence")


@pytest.fixture(scope="module")
def of_texts(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No pairs are released, and nothing in it depends on the run's own secrets."""
    out = tmp_path_factory.mktemp("black box of texts") / "run"
    return run(synthetic, out, "semantics.kind=hashing", "model.dropout=0.5")


def test_answers_prove_no_more_than_is_stated(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With dropout and all other defaults on; the smallest market, the user that is easiest to see."""
    words = ["audit", str(finished), "--black-box", "20"]
    assert exit_code(lambda: app(words, standalone_mode=False)) == 0
    assert "not refuted" in capsys.readouterr().out
    result = json.loads((finished / "black-box.json").read_text())
    assert result["market"] == "charlie"
    assert [found["what"] for found in result["releases"]] == ["update", "item pairs"]
    for found in result["releases"]:
        assert found["epsilon_at_least"] <= found["epsilon_stated"] < found["provable"] < 3
        assert 0.3 < found["moved"] <= 1.001
        assert not is_broken(found)


def by_place(self: PrivateSteps, encoder: Encoder, people: list[str], step: int, length: int) -> EncoderMasks:
    """Dropout as it was: of a seed that everybody knows, handed out in the batch's order."""
    shape = encoder.mask_shape
    generator = np.random.default_rng(step)
    drawn = generator.integers(2**16, size=(len(people), shape.words)).astype(np.int32)
    return shape.masks(torch.from_numpy(drawn), length)


def test_a_mechanism_in_which_others_move_with_a_user_is_caught(
    of_texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrivateSteps, "masks", by_place)
    (update,) = audit_answers(of_texts, 20, "alfa")["releases"]
    assert update["moved"] > 2
    assert update["fitted"] > 2 * update["epsilon_stated"]  # counts of so few answers prove it under most seeds alone
    assert is_broken(update)


@pytest.mark.slow
def test_counts_alone_refute_it(of_texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at the sum before noise, and nothing taken to be normal."""
    monkeypatch.setattr(PrivateSteps, "masks", by_place)
    (update,) = audit_answers(of_texts, 150, "alfa")["releases"]
    assert update["epsilon_at_least"] > update["epsilon_stated"]


@pytest.mark.slow
def test_a_mechanism_that_does_not_clip_is_caught(of_texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        private, "clipped_sum", lambda gradients, _: {name: value.sum(dim=0) * 5 for name, value in gradients.items()}
    )
    (update,) = audit_answers(of_texts, RUNS, "alfa")["releases"]
    assert update["moved"] > 2
    assert is_broken(update)


def test_what_cannot_be_audited_so(finished: Path) -> None:
    with pytest.raises(UserError, match="--black-box 0"):
        audit_answers(finished, 0)
    with pytest.raises(UserError, match="--market 'zulu': not in this run; it has alfa, bravo, charlie"):
        audit_answers(finished, 30, "zulu")


@pytest.mark.parametrize("shift", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("count", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_bounds_of_a_gaussian_mechanism_stay_below_its_epsilon(shift: float, count: int) -> None:
    """At 95 %: of 200 audits, few bounds lie above it. Thresholds come from other numbers."""
    generator = np.random.default_rng([count, round(10 * shift)])
    draw = lambda size: (generator.normal(size=size), generator.normal(shift, size=size))  # noqa: E731
    stated = epsilon([Release("", 1 / shift)], 1e-5)
    above = np.zeros(2)
    for _ in range(200):
        threshold = best_threshold(*draw(count), count, 1e-5)
        bounds = counted(*draw(count), threshold, 1e-5), fitted(*draw(count), 1e-5)
        above += np.array(bounds) > stated
    assert (above <= 20).all(), above


def test_four_hundred_answers_that_are_all_right_prove_four_point_five() -> None:
    """By hand: all of 400 leave .0125^(1/400) for the chance of one event, and none of 400 the rest for the other."""
    most = 0.0125 ** (1 / 400)
    found = counted(np.zeros(400), np.ones(400), 0.5, 1e-5)
    assert found == pytest.approx(math.log((most - 1e-5) / (1 - most)))
    assert 4.4 < found < 4.7
    assert counted(np.zeros(400), np.zeros(400), 0.5, 1e-5) == 0
