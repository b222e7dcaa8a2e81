"""Wheel and source archive, installed where nothing else of this checkout is, beside a user's own folders."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import fedrec

ROOT = Path(fedrec.__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel is made of the source archive, as an index would make it."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "-d"]
    subprocess.run([*build, str(folder), "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder / "source", filter="data")
    (tree,) = (folder / "source").iterdir()
    subprocess.run([*build, str(folder), "-t", "wheel"], cwd=tree, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return {"sdist": archive, "wheel": wheel}


def test_the_wheel_has_one_name(built: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(built["wheel"]).namelist())
    assert {name.partition("/")[0] for name in names} == {"fedrec", f"fedrec-{fedrec.__version__}.dist-info"}
    for name in ("py.typed", "recipes/fecosr.yaml", "clients/app.py", "server/app.py", "strategies/shared_average.py"):
        assert f"fedrec/{name}" in names
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "fedrec").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == here


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has the wheel, and of the tests' own one the libraries, but not its fedrec."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # of a path in it no .pth is read
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(built["wheel"])], check=True, capture_output=True)
    return folder


@pytest.fixture
def beside_others(tmp_path: Path) -> Path:
    """A folder of a user's own, with the names of ours."""
    for name in ("clients", "strategies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "server.py").write_text("MINE = True\n")
    return tmp_path


def python(environment: Path, folder: Path, *words: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(environment / "bin" / "python"), *words]
    result = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_runs_beside_folders_of_the_same_names(installed: Path, beside_others: Path) -> None:
    code = (
        "import clients, server, strategies, fedrec; print(clients.MINE, server.MINE, strategies.MINE, fedrec.__file__)"
    )
    said = python(installed, beside_others, "-c", code)
    assert said.startswith("True True True ")
    assert str(installed) in said
    main = ("-m", "fedrec.cli.main")
    assert python(installed, beside_others, *main, "--version").strip() == fedrec.__version__
    shown = python(installed, beside_others, *main, "run", "--quick", "--out", "run")
    assert "NDCG@10 per market" in shown
    assert (beside_others / "run" / "report.html").is_file()


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """With all defaults, as `make demo` does it from the checkout."""
    shown = python(installed, tmp_path, "-m", "fedrec", "run", "--out", "demo")
    assert "federated" in shown
    assert (tmp_path / "demo" / "report.html").is_file()
