"""Which version this is: of the installed package, or of the bundle that this code runs out of."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_BUNDLE = Path(__file__).parents[1] / "pyproject.toml"


def _version() -> str:
    try:
        return version("fedrec")
    except PackageNotFoundError:
        found: str = tomllib.loads(_BUNDLE.read_text(encoding="utf-8"))["project"]["version"]
        return found


VERSION = _version()
