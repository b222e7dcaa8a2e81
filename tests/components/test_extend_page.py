"""docs/how-to/extend.md: its code runs as it stands."""

import re
from pathlib import Path

import pytest

from fedrec.components import registry

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"


def test_the_notebooks_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(PAGE), "exec"), {"__name__": "notebook"})  # noqa: S102  what the page says
    assert "recall@10" in capsys.readouterr().out
    assert registry.components("encoder")["mean"].origin == registry.NOTEBOOK


@pytest.mark.parametrize("noun", registry.nouns())
def test_every_noun_has_its_place_on_the_page(noun):
    assert f"`{noun}`" in PAGE.read_text(encoding="utf-8")
