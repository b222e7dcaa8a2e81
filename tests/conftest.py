"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

from fedrec.data.synth import SynthSettings, write_synthetic_markets

torch.set_num_threads(1)

TINY = SynthSettings(markets=("alfa", "bravo", "charlie"), users=60, items=80, topics=8, skew=0.7, seed=3)

# A run that takes a second or two: the whole path, nothing left out.
QUICK = [
    "model.dimension=16",
    "model.bottleneck=4",
    "semantics.dimension=16",
    "loss.neighbours=5",
    "federation.rounds=3",
    "finetune.epochs=2",
    "ease.lambdas=[10, 100]",
    "evaluation.resamples=50",
]


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three tiny markets with described items."""
    directory = tmp_path_factory.mktemp("synthetic") / "data"
    write_synthetic_markets(directory, TINY)
    return directory


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; skips loudly where there is none."""
    directory = Path(os.environ.get("FEDREC_SHARED", "../shared")) / "data"
    if not directory.is_dir():
        pytest.skip(f"real data not found at {directory}; set FEDREC_SHARED")
    return directory


@pytest.fixture(scope="session")
def xmarket(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XMarket electronics, imported."""
    from fedrec.data.importers import run_import

    directory = tmp_path_factory.mktemp("xmarket") / "data"
    run_import("xmarket-5core", shared / "xmarket_electronics", directory)
    return directory


@pytest.hookimpl(tryfirst=True)  # xdist's own reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (xdist), which tests share one: those that need the same ports, or the same long set-up."""
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        made_once = fixtures is not None and any(
            found[-1].scope == "module" for found in fixtures.name2fixturedefs.values()
        )
        if item.get_closest_marker("deploy"):
            item.add_marker(pytest.mark.xdist_group("hosts"))
        elif "ray" in item.name:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif made_once:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


LOUD = {
    "real data not found": "REAL DATA NOT TESTED: {} tests skipped; set FEDREC_SHARED",
    "network namespaces": "DEPLOYMENT NOT TESTED: {} tests skipped; run as root on Linux with iproute2",
    "tracker not installed": "TRACKERS NOT TESTED: {} tests skipped; pip install fedrec[mlflow,wandb]",
    "no browser": "PAGES NOT OPENED IN A BROWSER: {} tests skipped; see tests/report/test_browser.py",
    "docker-compose is not installed": "COMPOSE FILES NOT HELD AGAINST THEIR SCHEMA: {} test skipped",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for reason, text in LOUD.items():
        if count := sum(reason in words for words in skipped):
            terminalreporter.write_sep("!", text.format(count))
