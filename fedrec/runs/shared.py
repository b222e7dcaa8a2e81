"""The shared model as an export: safetensors for numbers, JSON for what they mean. Documented in docs/export.md.

``model.safetensors`` (shared parameters by name), ``model.json`` (recipe, semantics, shapes, hashes) and, where item
vectors were made from the markets' counts, ``items.safetensors`` and ``items.json`` (vectors and the public keys they
belong to). Nothing of a single market is in it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.errors import UserError
from fedrec.exchange.payload import Array
from fedrec.files import write_atomic, write_json
from fedrec.recipe import Recipe, parse_recipe

SCHEMA = 1


@dataclass(frozen=True)
class SharedItems:
    """Item vectors of the federation by public key; a zero row has no evidence."""

    keys: list[str]
    vectors: NDArray[np.float32]  # [I, e]

    def of(self, keys: list[str]) -> NDArray[np.float32]:
        """Rows for ``keys``; zero where the federation does not know the key."""
        position = {key: row for row, key in enumerate(self.keys)}
        result = np.zeros((len(keys), self.vectors.shape[1]), np.float32)
        for row, key in enumerate(keys):
            if key in position:
                result[row] = self.vectors[position[key]]
        return result


@dataclass(frozen=True)
class SharedModel:
    """What a finished federation shares."""

    recipe: Recipe
    parameters: dict[str, Array]
    best_round: int
    items: SharedItems | None


def write_items(folder: Path, items: SharedItems) -> None:
    """Write the item vectors of a federation."""
    write_atomic(folder / "items.safetensors", save_arrays({"vectors": np.ascontiguousarray(items.vectors)}))
    write_atomic(folder / "items.json", json.dumps(items.keys).encode())


def write_shared_model(folder: Path, recipe: Recipe, parameters: Mapping[str, Array], best_round: int) -> None:
    """Write the shared parameters, then the description with the hashes of everything beside it."""
    data = save_arrays({name: np.ascontiguousarray(array) for name, array in parameters.items()})
    write_atomic(folder / "model.safetensors", data)
    names = [name for name in ("model.safetensors", "items.safetensors", "items.json") if (folder / name).is_file()]
    description: dict[str, Any] = {
        "schema": SCHEMA,
        "fedrec": version("fedrec"),
        "best_round": best_round,
        "parameters": {name: list(array.shape) for name, array in sorted(parameters.items())},
        "sha256": {name: _hash(folder / name) for name in names},
        "recipe": recipe.model_dump(mode="json"),
    }
    write_json(folder / "model.json", description)


def read_shared_model(folder: Path) -> SharedModel:
    """Read an export; raises :class:`UserError` when it is missing, damaged, or of another schema."""
    path = folder / "model.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no shared model (no model.json); name a finished run that trained `federated`"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {description['schema']!r} is not {SCHEMA}; use the version that wrote it")
        for name, digest in description["sha256"].items():
            if name not in {"model.safetensors", "items.safetensors", "items.json"} or _hash(folder / name) != digest:
                raise UserError(f"{folder / name}: differs from its hash in model.json; copy the folder again")
        recipe = parse_recipe(description["recipe"], str(path))
        parameters = load_arrays((folder / "model.safetensors").read_bytes())
        items = None
        if "items.json" in description["sha256"]:
            keys = json.loads((folder / "items.json").read_text(encoding="utf-8"))
            items = SharedItems(keys, load_arrays((folder / "items.safetensors").read_bytes())["vectors"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error!r:.100}); copy the folder again") from None
    return SharedModel(recipe, parameters, int(description["best_round"]), items)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
