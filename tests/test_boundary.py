"""The trust boundary's own bookkeeping."""

import ast
import tomllib
from pathlib import Path

import fedrec

SIDES = {f"fedrec.{name}" for name in ("simulation", "deployment", "cli", "clients", "server", "strategies")}
ROOT = Path(fedrec.__file__).parents[1]
# rooms whose parts get the sections that they need
PARTS = (
    "aggregators", "attacks", "baselines", "data", "encoders", "exchange", "losses", "masking", "metrics", "models",
    "privacy", "semantics", "training",
)  # fmt: skip
WHOLE = {
    "masking/following.py": "what follows from a sum, which both sides compute of the same recipe",
    "privacy/plan.py": "how epsilon is spent, which both sides compute of the same recipe",
}
PICKING = {"of", "on", "alone"}  # constructors that pick the sections of a recipe


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


def test_a_part_gets_the_sections_that_it_needs() -> None:
    """The whole recipe ends at constructors that pick from it."""
    found = []
    for path in (path for room in PARTS for path in (ROOT / "fedrec" / room).rglob("*.py")):
        module = path.relative_to(ROOT / "fedrec").as_posix()
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        found += [
            f"{module}: {function.name}"
            for function in functions
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if argument.annotation is not None and ast.unparse(argument.annotation).strip("'\"") == "Recipe"
            if function.name not in PICKING and module not in WHOLE
        ]
    assert found == []
