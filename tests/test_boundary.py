"""The trust boundary's own bookkeeping."""

import tomllib
from pathlib import Path

import fedrec

SIDES = {f"fedrec.{name}" for name in ("simulation", "deployment", "cli", "clients", "server", "strategies")}
ROOT = Path(fedrec.__file__).parents[1]


def test_every_part_of_the_library_is_under_contract() -> None:
    """import-linter takes sources one by one: a new module must not slip through."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = set(contracts[0]["source_modules"])
    parts = {
        f"fedrec.{path.stem}"
        for path in (ROOT / "fedrec").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and not path.stem.startswith("_")
    }
    assert listed == parts - SIDES


def test_importing_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, fedrec; print([name for name in ('torch', 'flwr', 'ray', 'polars') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_public_names_exist() -> None:
    assert all(getattr(fedrec, name) is not None for name in fedrec.__all__)
