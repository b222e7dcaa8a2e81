"""docs/how-to/extend.md: its code runs as it stands."""

import re
from pathlib import Path

import pytest

from fedrec.components import registry
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_stores
from fedrec.recipe import load_recipe
from fedrec.report.trackers import make_trackers
from fedrec.simulation.audit import audit
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_notebooks_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for block in blocks():
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  what the page says
        ran = "fedrec.run(" in block
        assert ("method" in capsys.readouterr().out) == ran
    names["test_it_goes_halfway"]()
    assert registry.components("encoder")["mean"].origin == registry.NOTEBOOK
    for noun, name in (
        ("algorithm", "factorisation"),
        ("aggregator", "halfway"),
        ("loss", "margin"),
        ("metric", "long_tail"),
        ("stage", "sign"),
        ("attack", "norms"),
        ("semantics", "lengths"),
    ):
        assert registry.components(noun)[name].origin == registry.NOTEBOOK
    ratings = tmp_path / "ratings.dat"
    ratings.write_text(
        "".join(f"u{user}::i{item}::4::{1_600_000_000 + 86400 * item}\n" for user in range(5) for item in range(4))
    )
    report = run_import("movielens", ratings, tmp_path / "data", ImportOptions(market="us"))
    assert report.markets == ("us",)
    assert open_stores(tmp_path / "data")[0].count == 20
    (tracker,) = make_trackers("printed", tmp_path, {})
    tracker.event({"event": "round", "round": 3, "validation_before": 0.5})
    assert capsys.readouterr().out == "3 0.5\n"
    assert names["Mine"].Settings().cut == 0.1


def test_its_attack_finds_something(synthetic, tmp_path, monkeypatch):
    """In a run of which a coin left users out, as an audit wants it."""
    monkeypatch.setattr(registry, "_registered", {})
    (block,) = [text for text in blocks() if 'register("attack"' in text]
    exec(compile(block, str(PAGE), "exec"), {"__name__": "notebook"})  # noqa: S102  what the page says
    chosen = ["data.user_share=0.6", "evaluation.methods=[federated]", "federation.rounds=2"]
    prepare_simulation(load_recipe("fecosr", [*QUICK, *chosen]), synthetic, tmp_path / "run").start()
    found = audit(tmp_path / "run", attacks=["norms"])["findings"]
    norms = [one["figures"]["norm"] for one in found if one["attack"] == "length of updates"]
    assert len(norms) == 3
    assert all(0 < norm < 100 for norm in norms)


@pytest.mark.parametrize("noun", registry.nouns())
def test_every_noun_has_its_place_on_the_page(noun):
    assert f"`{noun}`" in PAGE.read_text(encoding="utf-8")
