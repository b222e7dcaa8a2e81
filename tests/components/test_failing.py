"""What the author of a component that fails at the coordinator is shown."""

from pathlib import Path

import pytest

from fedrec.cli.main import app, exit_code
from fedrec.components import Aggregator, registry
from fedrec.components.section import ComponentSettings
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
