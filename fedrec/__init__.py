"""fedrec: recommenders of several markets learn together without moving a single interaction.

The names below are loaded when first used, so that ``import fedrec`` costs nothing.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Recipe": "fedrec.recipe",
    "load_recipe": "fedrec.recipe",
    "open_stores": "fedrec.data.store",
    "run_import": "fedrec.data.importers",
    "import_frame": "fedrec.data.importers.frames",
    "write_synthetic_markets": "fedrec.data.synth",
    "SynthSettings": "fedrec.data.synth",
    "SequentialModel": "fedrec.models.sequential",
    "s2ce": "fedrec.losses.s2ce",
    "prepare_simulation": "fedrec.simulation.run",
    "register": "fedrec.components.registry",
    "Recommender": "fedrec.simulation.recommend",
    "Run": "fedrec.simulation.api",
    "load_run": "fedrec.simulation.api",
    "run": "fedrec.simulation.api",
}

__all__ = [
    "Recipe",
    "Recommender",
    "Run",
    "SequentialModel",
    "SynthSettings",
    "__version__",
    "import_frame",
    "load_recipe",
    "load_run",
    "open_stores",
    "prepare_simulation",
    "register",
    "run",
    "run_import",
    "s2ce",
    "write_synthetic_markets",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("fedrec.version").VERSION
    if name not in _HOME:
        raise AttributeError(f"module 'fedrec' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
