"""Every aggregator through a whole run, the same with workers, after a stop and under masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedrec.clients.app import app as client_app
from fedrec.components import Aggregator, ComponentSettings, find, registry
from fedrec.errors import UserError
from fedrec.exchange.declaration import PRETRAIN
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.aggregators.updates import KINDS, LINEAR
from tests.integration.harness import Stopped, Stopping, quick

ROUNDS = "federation.rounds=3"
METHODS = "evaluation.methods=[federated]"
FLOWER = ("aggregator.kind=flower", "aggregator.strategy=FedAvgM", "aggregator.options={server_momentum: 0.5}")


def words(kind: str) -> tuple[str, ...]:
    return FLOWER if kind == "flower" else (f"aggregator.kind={kind}",)


def shared(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "shared" / "model.safetensors")


def validations(summary: dict[str, Any]) -> list[Any]:
    return [record["validations_before"] for record in summary["rounds"]]


@pytest.fixture(scope="module")
def mean(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prepare_simulation(quick(METHODS, ROUNDS), synthetic, tmp_path_factory.mktemp("mean") / "run").start()


ALIKE = {"fedyogi", "fedadagrad", "trimmed_mean"}  # share their steps with one that is tried by default


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) if kind in ALIKE else kind for kind in KINDS if kind != "mean"],
)
def test_a_run_of_another_aggregator(kind: str, synthetic: Path, tmp_path: Path, mean: dict[str, Any]) -> None:
    """It trains, and moves elsewhere than the mean."""
    summary = prepare_simulation(quick(*words(kind), METHODS, ROUNDS), synthetic, tmp_path / "run").start()
    assert not summary["failed"]
    assert all(record["accepted"] and not record["rejected"] for record in summary["rounds"])
    assert validations(summary) != validations(mean)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("feddyn", "flower", "krum")])
def test_workers_give_the_same(kind: str, synthetic: Path, tmp_path: Path) -> None:
    chosen = (*words(kind), METHODS, ROUNDS)
    one = prepare_simulation(quick(*chosen), synthetic, tmp_path / "one").start()
    two = prepare_simulation(quick(*chosen, "engine.workers=2"), synthetic, tmp_path / "two").start()
    assert comparable(one) == comparable(two)


@pytest.mark.parametrize("kind", ["feddyn", "flower"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(kind: str, synthetic: Path, tmp_path: Path) -> None:
    """The server's state is in the checkpoint, the market's half of it on the market's disk."""
    chosen = quick(*words(kind), METHODS, "federation.rounds=4")
    expected = prepare_simulation(chosen, synthetic, tmp_path / "whole").start()
    with pytest.raises(Stopped):
        prepare_simulation(chosen, synthetic, tmp_path / "stopped").start(client_app=Stopping(PRETRAIN, 3))
    found = resume_simulation(tmp_path / "stopped").start(client_app=client_app)
    assert comparable(found) == comparable(expected)
    for name, value in shared(tmp_path / "whole").items():
        np.testing.assert_array_equal(shared(tmp_path / "stopped")[name], value)


@pytest.mark.parametrize(
    "kind", [kind if kind == "feddyn" else pytest.param(kind, marks=pytest.mark.slow) for kind in LINEAR]
)
def test_linear_ones_go_with_masks(kind: str, synthetic: Path, tmp_path: Path) -> None:
    """Markets follow every step, so a wrong one would end the run; fixed point costs a little of each number."""
    chosen = (*words(kind), METHODS, "federation.rounds=3", "semantics.kind=hashing")
    prepare_simulation(quick(*chosen), synthetic, tmp_path / "plain").start()
    masked = prepare_simulation(quick(*chosen, "masks.enabled=true"), synthetic, tmp_path / "masked").start()
    assert [record["rejected"] for record in masked["rounds"]] == [[]] * 3
    for name, value in shared(tmp_path / "plain").items():
        np.testing.assert_allclose(shared(tmp_path / "masked")[name], value, atol=2e-2)


class Broken(Aggregator):
    """Returns what is no model."""

    class Settings(ComponentSettings):
        kind: str = "broken"
        how: str = "lacks"

    def apply(self, current, updates, state):
        result = dict(updates[0].arrays)
        name = sorted(result)[0]
        if self.settings.how == "raises":
            raise KeyError("nothing there")
        if self.settings.how == "words":
            return result, {"words": "of no number"}
        if self.settings.how == "lacks":
            del result[name]
        elif self.settings.how == "shape":
            result[name] = np.zeros(3)
        else:
            result[name] = np.full_like(result[name], np.nan)
        return result, {}


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("lacks", "missing or unknown"),
        ("shape", "float64 of shape .3,., not float32 of shape"),
        ("words", "its state .words. is no array of numbers"),
        ("nan", "not finite"),
        ("raises", "KeyError: .nothing there.* .test_aggregators.py, line"),
    ],
)
def test_what_is_no_model_ends_the_run_in_words(
    how: str, complaint: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("aggregator", "broken", Broken)
    recipe = quick("aggregator.kind=broken", f"aggregator.how={how}", METHODS)
    with pytest.raises(UserError, match=f"aggregator 'broken'.*{complaint}"):
        prepare_simulation(recipe, synthetic, tmp_path / "run").start()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("aggregator.kind=krum", "masks.enabled=true"), "masks hide"),
        (("aggregator.kind=feddyn", "privacy.epsilon=8"), "private steps have no place for"),
        (("aggregator.kind=feddyn", "algorithm.kind=fedmm", "evaluation.methods=[federated]"), "rounds on a codebook"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        quick(*overrides)


def test_feddyn_says_that_it_has_a_half_at_the_markets() -> None:
    assert [kind for kind in KINDS if find("aggregator", kind).local is not None] == ["feddyn"]
