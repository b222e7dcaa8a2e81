"""Fixtures shared by all tests."""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from fedrec.data.synth import SynthSettings, write_synthetic_markets

torch.set_num_threads(1)
if os.environ.get("FEDREC_SAME_EXAMPLES"):  # of property tests, which look at others every time elsewhere
    settings.register_profile("same", derandomize=True)
    settings.load_profile("same")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fedrec-tests-")  # no test finds what another run solved

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


def quickly(*overrides: str) -> list[str]:
    """QUICK with other overrides, each key once, as the command line takes them."""
    return list({one.partition("=")[0]: one for one in (*QUICK, *overrides)}.values())


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several workers (xdist), a test goes to whoever is free; those that :func:`shared_work` names go together.

    Not by xdist's own marks of groups: under pytest 9 they come to nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared_work(nodeid) or nodeid

    return Scheduling(config, log)


def shared_work(nodeid: str) -> str | None:
    """What a test must be on one worker with: the same ports and namespaces, Ray, or a long set-up of its file."""
    path = nodeid.partition("::")[0]
    if "ray" in nodeid.partition("[")[2]:
        return "ray"
    if path.startswith("tests/deployment/") and "mark.deploy" in _text(path):
        return "hosts"
    if path.startswith("tests/containers/"):
        return "containers"
    return path if 'scope="module"' in _text(path) else None


@cache
def _text(path: str) -> str:
    return (Path(__file__).parents[1] / path).read_text(encoding="utf-8")


LOUD = {
    "no container engine": "CONTAINERS NOT TESTED: {} tests skipped; start docker, or run as root beside its tool",
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
