"""A package that adds components, on every engine of one machine."""

import json
import shutil
from pathlib import Path

import pytest

from fedrec.components import components
from fedrec.deployment.bundle import own_bundle
from fedrec.errors import UserError
from fedrec.recipe import load_recipe, plugins_of
from fedrec.runs.summary import comparable
from fedrec.simulation.run import Simulation, prepare_simulation, resume_simulation
from tests.integration.harness import Stopping, quick
from tests.plugin.conftest import forget

WORDS = ("encoder.kind=average", "encoder.window=3", "evaluation.methods=[federated, local, pooled]")


def test_it_is_named_like_ours_and_says_where_it_comes_from(installed: Path) -> None:
    assert components("encoder")["average"].origin == "marketkit"
    recipe = load_recipe("fecosr", list(WORDS[:2]))
    assert recipe.encoder.model_dump() == {"kind": "average", "window": 3}
    assert plugins_of(recipe) == ("marketkit",)
    with pytest.raises(UserError, match=r"unknown key 'encoder\.windows'; did you mean 'window'"):
        load_recipe("fecosr", ["encoder.kind=average", "encoder.windows=3"])


def test_without_its_package_the_name_is_unknown() -> None:
    with pytest.raises(UserError, match="'average' is no encoder"):
        load_recipe("fecosr", list(WORDS[:1]))


@pytest.mark.parametrize(
    "engine",
    ["engine.workers=2", pytest.param("engine.kind=ray", marks=pytest.mark.slow)],
)
def test_every_engine_gives_the_same(engine: str, installed: Path, synthetic: Path, tmp_path: Path) -> None:
    inline = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "inline").start()
    other = prepare_simulation(quick(*WORDS, engine), synthetic, tmp_path / "other").start()
    assert not inline["failed"]
    assert {"federated", "local", "pooled"} <= set(inline["mean"])
    assert comparable(other) == comparable(inline)


def test_a_market_whose_operator_has_not_allowed_the_package_refuses(
    installed: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = Simulation._seat
    monkeypatch.setattr(
        Simulation,
        "_seat",
        lambda self, store: {**seat(self, store), **({"plugins": ""} if store.name == "bravo" else {})},
    )
    simulation = prepare_simulation(quick(*WORDS), synthetic, tmp_path / "run")
    with pytest.raises(
        Exception, match="encoder 'average' is of package 'marketkit', which this market's operator has not"
    ):
        simulation.start()
    ledger = (tmp_path / "run" / "markets" / "bravo" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in ledger] == ["error"]


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
