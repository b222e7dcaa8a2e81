"""``fedrec new plugin NAME``: what it makes installs, is found and passes its own test as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedrec.cli.main import app, exit_code
from tests.plugin.conftest import install

ROOT = Path(__file__).parents[2]


def fedrec(folder: Path, *words: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedrec.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_it_makes_passes_as_made(tmp_path: Path) -> None:
    made = fedrec(tmp_path, "new", "plugin", "my-mean")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "begin with my-mean/README.md\n"
    site, project = tmp_path / "site", tmp_path / "my-mean"
    install(site, project)
    path = f"{site}:{ROOT}"
    listed = fedrec(tmp_path, "components", "encoder", path=path).stdout
    assert [line.split() for line in listed.splitlines() if "my-mean" in line] == [
        ["encoder", "my-mean", "my-mean", "layers"]
    ]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project)]
    environment = {**os.environ, "PYTHONPATH": path}
    ran = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("plugin", "My-Mean"), "plugin 'My-Mean': a name begins with a small letter"),
        (("plugin", "json"), "there is a module json already"),
        (("plugin", "gru4rec"), "fedrec has an encoder of that name"),
        (("plugin",), "plugin: give the package a name"),
        (("shop", "more"), "'more': a second word goes with plugin alone"),
    ],
)
def test_what_it_refuses(
    words: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: app(["new", *words], standalone_mode=False)) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
