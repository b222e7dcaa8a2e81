"""Pages in a real browser: no error, nothing fetched, nothing wider than the window, nothing that axe-core objects to.

Needs Chromium, `pip install playwright`, and axe-core's axe.min.js (from npm) at FEDREC_AXE; says loudly if it has not.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.simulation.run_page import write_page
from tests.conftest import QUICK

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("FEDREC_AXE")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser: pip install playwright")
    if CHROMIUM is None or AXE is None:
        pytest.skip("no browser: install Chromium and set FEDREC_AXE")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for recipe in ("fecosr", "codes", "baselines"):
        settings = [] if recipe == "baselines" else [one for one in QUICK if "rounds" not in one]
        prepare_simulation(load_recipe(recipe, settings), synthetic, folder / recipe).start()
        made[recipe] = write_page(folder / recipe)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("name", ["fecosr", "codes", "baselines"])
def test_a_page(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, fetched = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run()")["violations"]
    context.close()
    assert not said
    assert fetched == [pages[name].as_uri()]
    assert not [(one["id"], one["impact"], one["nodes"][0]["target"]) for one in violations]
