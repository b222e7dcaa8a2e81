"""What the author of a component that fails at the coordinator is shown."""

from pathlib import Path

import numpy as np
import pytest

from fedrec.cli.main import app, exit_code
from fedrec.components import Aggregator, Update, registry
from fedrec.components.section import ComponentSettings
from fedrec.errors import ComponentError, UserError
from fedrec.exchange.aggregation import apply_aggregator
from fedrec.recipe import load_recipe
from tests.conftest import quickly


class Breaks(Aggregator):
    """Has a bug two calls deep."""

    linear = False

    class Settings(ComponentSettings):
        kind: str = "breaks"

    def apply(self, current, updates, state):
        return self.step(updates), state

    def step(self, updates):
        return {}["no such name"]


class Nothing(Breaks):
    """Has forgotten its only method."""

    apply = Aggregator.apply


class OneThing(Breaks):
    """Returns the arrays alone."""

    def apply(self, current, updates, state):
        return dict(current)


class Changing(Breaks):
    """Writes into what it was given."""

    def apply(self, current, updates, state):
        updates[0].arrays["w"][:] = 0
        return dict(current), {}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Nothing, "aggregator 'breaks' has no method apply"),
        (OneThing, "apply returns two mappings, the arrays and the state"),
        (Changing, "read-only"),
    ],
)
def test_what_an_aggregator_does_wrong_is_said(kind: type, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("aggregator", "breaks", kind)
    given = {"w": np.ones(2, np.float32)}
    with pytest.raises(ComponentError, match=said):
        apply_aggregator(Breaks.Settings(), given, [Update("jp", given, 1.0)], {})
    assert given["w"].tolist() == [1, 1]


@pytest.mark.parametrize("algorithm", ["neumf", "fedease"])
@pytest.mark.parametrize("section", ["encoder.kind=gru4rec", "loss.kind=bpr"])
def test_a_component_that_an_algorithm_does_not_read_is_refused(algorithm: str, section: str) -> None:
    noun = section.partition(".")[0]
    with pytest.raises(UserError, match=f"algorithm.kind '{algorithm}' has no {noun}; leave it out"):
        load_recipe(algorithm, [section])


def test_an_aggregators_bug_comes_with_its_traceback(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("aggregator", "breaks", Breaks)
    changes = quickly("evaluation.methods=[federated]", "aggregator.kind=breaks", "federation.rounds=1")
    words = ["run", "fecosr", "--data", str(synthetic), "--out", str(tmp_path / "run")]
    words += [part for change in changes for part in ("--set", change)]
    assert exit_code(lambda: app(words, standalone_mode=False)) == 2
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert 'return {}["no such name"]' in said
    assert "in step" in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("fedrec: aggregator 'breaks' failed: KeyError: 'no such name' (test_failing.py, line")
