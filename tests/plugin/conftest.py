"""The plugin's distribution, installed for the tests that need it, and for the processes that they start."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedrec.components import plugins, registry

PROJECT = Path(__file__).parent / "project"


def install(target: Path, source: Path = PROJECT) -> None:
    """As an operator would, into a folder of its own."""
    words = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *words, str(source)], check=True, timeout=300)


def forget() -> None:
    """What was found before the installation, and what is imported of it."""
    registry._found.cache_clear()
    plugins.read_plugin.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "marketkit"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plugin is installed."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "project"
    subprocess.run(["cp", "-r", str(PROJECT), str(source)], check=True)  # a build leaves things beside its source
    install(target, source)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin on the path of this process and of those that it starts."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path(__file__).parents[2]}")
    forget()
    yield site
    monkeypatch.undo()
    forget()
