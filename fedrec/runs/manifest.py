"""``manifest.json``: what a run was made of."""

import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedrec.components.chosen import KIND
from fedrec.components.plugins import read_plugin
from fedrec.errors import UserError
from fedrec.memory_plan import FORMS
from fedrec.recipe import Recipe, plugins_of

SCHEMA = 2
_PACKAGES = ("fedrec", "flwr", "torch", "numpy", "scipy", "polars", "scikit-learn", "faiss-cpu", "safetensors")


def build_manifest(
    recipe: Recipe,
    data: Path | None,
    data_hashes: Mapping[str, str],
    device: str,
    start_from: Path | None = None,
    warm_start: Path | None = None,
    deployment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Recipe as given, versions, device, data folder and hashes, packages of components, in a checkout the commit.

    ``start_from`` is the shared model adapted, ``warm_start`` the one that the rounds begin with.

    Of a deployment only the connection and the names of its markets: what data they hold is theirs to know.
    """
    return {
        "schema": SCHEMA,
        "device": device,
        "seed": recipe.seed,
        "recipe": recipe.model_dump(mode="json"),
        "platform": platform.platform(),
        "versions": _versions(),
        "commit": _commit(),
        "plugins": _plugins(recipe),
        "data": {"folder": None if data is None else str(data), "hashes": dict(data_hashes)},
        "deployment": None if deployment is None else dict(deployment),
        "start_from": None if start_from is None else str(start_from),
        "warm_start": None if warm_start is None else str(warm_start),
    }


def refuse_deployed(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`UserError` for a run whose data and private models lie on the markets' own hosts."""
    if manifest.get("deployment") is not None:
        raise UserError(
            f"{path}: its markets hold data and models on their own hosts; do it there, on the run in a market's state"
        )


def what_differs(
    manifest: Mapping[str, Any], recipe: Recipe, resolved: Recipe, data_hashes: Mapping[str, str], device: str
) -> str | None:
    """Why a run may not go on: the first recipe key, market, device or package that is not what it was; else None.

    ``resolved`` is the manifest's recipe with every ``auto`` replaced, as the run itself writes it once it has begun.
    """
    began = dict(leaves(resolved.model_dump(mode="json")))
    for key, was, now in changes(manifest["recipe"], recipe.model_dump(mode="json")):
        if now != began.get(key) and key not in FORMS:
            return f"recipe.yaml: {key} is {now!r}, it was {was!r}"
    for market, was in manifest["data"]["hashes"].items():
        if data_hashes.get(market) != was:
            return f"the data of market {market!r} is not what it was when the run began"
    if manifest["device"] != device:
        return f"the device is {device}, it was {manifest['device']}"
    before = manifest.get("plugins", {})
    for name, plugin in _plugins(recipe).items():
        if before.get(name) != plugin:
            return f"the package {name} (now {plugin['version']}) is not what it was when the run began"
    for name, now in _versions().items():
        was = manifest["versions"].get(name)
        if was != now:
            return f"{name} is {now}, it was {was}"
    return None


def refuse_changed(path: Path, recipe: Recipe, evaluated: Recipe) -> None:
    """Raise :class:`UserError` where the recipe that stands in ``path`` is not what a market was evaluated with."""
    for key, was, now in changes(evaluated.model_dump(mode="json"), recipe.model_dump(mode="json")):
        raise UserError(f"{path}: {key} is {now!r}, it was {was!r}; restore it, or run again")


def changes(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys of two nested mappings that differ, dots between, with what stands in each."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}, key=lambda name: (name != KIND, name)):  # which component, before its keys
            yield from changes(was.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif was != now:
        yield path, was, now


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested sections under its key, ``a.b``."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _plugins(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Version and hash of the packages that bring what the recipe names, beside fedrec."""
    found = {name: read_plugin(name) for name in plugins_of(recipe)}
    return {name: {"version": plugin.version, "sha256": plugin.hash} for name, plugin in found.items()}


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
