"""docs/how-to/extend.md: its code runs as it stands."""

import re
from pathlib import Path

import pytest

from fedrec.components import registry
from fedrec.data.importers import run_import
from fedrec.data.importers.options import ImportOptions
from fedrec.data.store import open_stores
from fedrec.report.trackers import make_trackers

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"


def test_the_notebooks_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {"__name__": "notebook"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  what the page says
        ran = "fedrec.run(" in block
        assert ("method" in capsys.readouterr().out) == ran
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


@pytest.mark.parametrize("noun", registry.nouns())
def test_every_noun_has_its_place_on_the_page(noun):
    assert f"`{noun}`" in PAGE.read_text(encoding="utf-8")
