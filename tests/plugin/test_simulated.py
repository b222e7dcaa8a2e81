"""A package that adds components, on every engine of one machine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedrec.clients.admission import refuse_plugins
from fedrec.components import components
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.deployment.bundle import own_bundle
from fedrec.errors import RunError, UserError
from fedrec.recipe import Recipe, load_recipe, plugins_of
from fedrec.report.trackers import make_trackers
from fedrec.runs.summary import comparable
from fedrec.simulation.audit import audit
from fedrec.simulation.run import Simulation, prepare_simulation, resume_simulation
from tests.conftest import QUICK
from tests.integration.harness import Stopping
from tests.plugin.conftest import forget


def quick(*overrides: str) -> Recipe:
    """Without the keys of another loss."""
    return load_recipe("fecosr", [*(words for words in QUICK if not words.startswith("loss.")), *overrides])


ENCODER = ("encoder.kind=average", "encoder.window=3")
WORDS = (
    *ENCODER,
    "loss.kind=smooth",
    "semantics.kind=letters",
    "aggregator.kind=halfway",
    "update.stages=[{kind: rounded, decimals: 3}]",
    "evaluation.metrics=[ndcg, first]",
    "evaluation.methods=[federated, local, pooled]",
)


ALGORITHM = ("algorithm.kind=factors", "algorithm.scale=0.5", "evaluation.methods=[federated, local, pooled]")


def test_it_is_named_like_ours_and_says_where_it_comes_from(installed: Path) -> None:
    assert components("encoder")["average"].origin == "marketkit"
    recipe = load_recipe("fecosr", list(ENCODER))
    assert recipe.encoder.model_dump() == {"kind": "average", "window": 3}
    assert plugins_of(recipe) == ("marketkit",)
    with pytest.raises(UserError, match=r"unknown key 'encoder\.windows'; did you mean 'window'"):
        load_recipe("fecosr", ["encoder.kind=average", "encoder.windows=3"])


def test_without_its_package_the_name_is_unknown() -> None:
    with pytest.raises(UserError, match="'average' is no encoder"):
        load_recipe("fecosr", list(ENCODER[:1]))


@pytest.mark.parametrize(
    "engine",
    ["engine.workers=2", pytest.param("engine.kind=ray", marks=pytest.mark.slow)],
)
def test_every_engine_gives_the_same(engine: str, installed: Path, synthetic: Path, tmp_path: Path) -> None:
    inline = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "inline").start()
    other = prepare_simulation(quick(*WORDS, engine), synthetic, tmp_path / "other").start()
    assert not inline["failed"]
    assert {"federated", "local", "pooled"} <= set(inline["mean"])
    assert "first@10" in inline["mean"]["federated"]
    assert comparable(other) == comparable(inline)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["engine.workers=2", "engine.kind=ray"])
def test_its_algorithm(engine: str, installed: Path, synthetic: Path, tmp_path: Path) -> None:
    """A model of its own, federated, alone and pooled; users' vectors stay."""
    inline = prepare_simulation(quick(*ALGORITHM), synthetic, tmp_path / "inline").start()
    other = prepare_simulation(quick(*ALGORITHM, engine), synthetic, tmp_path / "other").start()
    assert not inline["failed"]
    assert comparable(other) == comparable(inline)
    ledger = (tmp_path / "inline" / "ledger.jsonl").read_text()
    assert '"items.weight"' in ledger
    assert '"users.weight"' not in ledger


def test_a_market_whose_operator_has_not_allowed_the_package_refuses(
    installed: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_config = Simulation._node_config
    monkeypatch.setattr(
        Simulation,
        "_node_config",
        lambda self, store: {**node_config(self, store), **({"plugins": ""} if store.name == "bravo" else {})},
    )
    simulation = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "run")
    with pytest.raises(
        Exception, match="aggregator 'halfway' is of package 'marketkit', which this market's operator has not"
    ):
        simulation.start()
    ledger = (tmp_path / "run" / "markets" / "bravo" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in ledger] == ["error"]


@pytest.mark.parametrize(
    "values",
    [
        {"aggregator": {"kind": "halfway"}},
        {"federation": {"aggregation": "halfway"}},  # what it was called before
        {"federation": {"optimiser": {"kind": "halfway"}}},
        {"evaluation": {"metrics": ["ndcg", {"kind": "first"}]}},
        {"evaluation": {"metrics": {"kind": "first"}}},
        {"update": {"stages": ["rounded"]}},
        {"encoder": "average"},
        {"algorithm": {"kind": "factors"}},
        {"model": {"kind": "factors"}},
    ],
)
def test_no_way_of_naming_it_gets_past_the_operator(installed: Path, values: dict[str, Any]) -> None:
    """Before the recipe is read, for to read it imports what it names."""
    with pytest.raises(RunError, match="is of package 'marketkit', which this market's operator has not allowed"):
        refuse_plugins(SimpleNamespace(plugins=()), json.dumps(values))
    assert "marketkit" not in sys.modules


def test_the_manifest_names_it_and_a_resumed_run_compares(installed: Path, synthetic: Path, tmp_path: Path) -> None:
    simulation = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        simulation.start(client_app=Stopping("train.pretrain", 2))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"]["marketkit"]["version"] == "1.2"
    code = installed / "marketkit" / "average.py"
    honest = code.read_bytes()
    try:
        code.write_bytes(honest + b"\n")
        forget()
        with pytest.raises(UserError, match=r"the package marketkit \(now 1\.2\) is not what it was"):
            resume_simulation(tmp_path / "run")
    finally:
        code.write_bytes(honest)
        forget()
    assert resume_simulation(tmp_path / "run").start()["rounds"]


def test_its_files_are_in_the_bundle_and_so_in_the_consent(installed: Path, tmp_path: Path) -> None:
    with_it = own_bundle(("marketkit",))
    assert {"marketkit/average.py", "marketkit/__init__.py"} <= set(with_it.contents())
    assert not any(name.startswith("marketkit") for name in own_bundle().contents())
    assert with_it.hash != own_bundle().hash
    copied = tmp_path / "site"
    shutil.copytree(installed, copied)
    code = installed / "marketkit" / "average.py"
    honest = code.read_bytes()
    try:
        code.write_bytes(honest + b"#")
        forget()
        own_bundle.cache_clear()
        assert own_bundle(("marketkit",)).hash != with_it.hash
    finally:
        code.write_bytes(honest)
        forget()
        own_bundle.cache_clear()
    assert own_bundle(("marketkit",)).hash == with_it.hash


def test_its_attack(installed: Path, synthetic: Path, tmp_path: Path) -> None:
    prepare_simulation(quick("evaluation.methods=[federated]"), synthetic, tmp_path / "run").start()
    result = audit(tmp_path / "run", attacks=["norms"])
    found = [one for one in result["findings"] if not one["control"]]
    assert [(one["market"], one["attack"]) for one in found] == [
        (name, "length of updates") for name in ("alfa", "bravo", "charlie")
    ]
    assert all(one["figures"]["norm"] > 0 for one in found)
    assert any(one["control"] for one in result["findings"]), "the audit's own checks are always made"


def test_its_importer_and_its_tracker(installed: Path, tmp_path: Path) -> None:
    """They are the own person's: no recipe names them, and the commands take what is installed."""
    source = tmp_path / "rows.txt"
    source.write_text(
        "".join(
            f"u{user} i{(user + step) % 7} {1_600_000_000 + 86400 * step}\n" for user in range(9) for step in range(6)
        )
    )
    assert run_import("lines", source, tmp_path / "data", ImportOptions(market="us")).markets == ("us",)
    (tracker,) = make_trackers("kept", tmp_path, {})
    tracker.event({"event": "round"})
    assert (tmp_path / "kept.txt").read_text() == "round\n"
    listed = subprocess.run(
        [sys.executable, "-m", "fedrec.cli.main", "components"], capture_output=True, text=True, check=True
    ).stdout
    found = {tuple(line.split()[:3]) for line in listed.splitlines() if "marketkit" in line}
    nouns = {"average": "encoder", "smooth": "loss", "halfway": "aggregator", "rounded": "stage", "first": "metric"}
    nouns |= {"lines": "importer", "kept": "tracker", "letters": "semantics", "norms": "attack"}
    nouns |= {"factors": "algorithm"}
    assert found == {(noun, name, "marketkit") for name, noun in nouns.items()}
