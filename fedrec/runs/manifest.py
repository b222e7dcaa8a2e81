"""``manifest.json``: what a run was made of."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedrec.recipe import Recipe

_PACKAGES = ("fedrec", "flwr", "torch", "numpy", "scipy", "polars", "scikit-learn", "safetensors")


def build_manifest(recipe: Recipe, data_hashes: Mapping[str, str]) -> dict[str, Any]:
    """Versions, seed, data hashes and, in a checkout, the commit."""
    return {
        "schema": 1,
        "seed": recipe.seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": _commit(),
        "data": dict(data_hashes),
    }


def _commit() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    result = subprocess.run(  # noqa: S603  # fixed words and our own path
        ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or None
