"""The shared model as an export: safetensors for numbers, JSON for what they mean. Documented in docs/export.md.

``model.safetensors`` (shared parameters by name), ``model.json`` (recipe, semantics, shapes, hashes) and, where item
vectors were made from the markets' counts, ``items.safetensors`` and ``items.json`` (vectors and the public keys they
belong to), or of a ranker ``statistics.safetensors`` and ``statistics.json`` (summed counts and their keys), and below
``scores/`` the same of the model whose scores it takes. All of it is made of all markets; but of what one market alone
sells, a sum is its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from fedrec.arrays import read_arrays
from fedrec.errors import UserError
from fedrec.exchange.payload import SCORES, Array
from fedrec.exchange.statistics import Statistics, read_statistics
from fedrec.files import reading, write_atomic, write_json
from fedrec.recipe import Recipe, parse_recipe
from fedrec.version import VERSION

SCHEMA = 1
_PARAMETERS, _VECTORS, _KEYS = "model.safetensors", "items.safetensors", "items.json"
_COUNTS, _COUNTED = "statistics.safetensors", "statistics.json"
_DESCRIPTION = "model.json"
_SCORING = f"{SCORES}/{_DESCRIPTION}"  # of the model whose scores are a feature, with hashes of its own files


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
class SharedStatistics:
    """Counts of the federation over public keys."""

    keys: list[str]
    statistics: Statistics

    def of(self, keys: list[str]) -> Statistics:
        """Those among ``keys``, numbered in their order; nothing of what the federation does not know."""
        position = {key: row for row, key in enumerate(self.keys)}
        known = np.array([row for row, key in enumerate(keys) if key in position], np.int64)
        theirs = np.array([position[keys[row]] for row in known], np.int64)
        return self.statistics.restricted(theirs).placed(known, len(keys))


@dataclass(frozen=True)
class SharedModel:
    """What a finished federation shares."""

    recipe: Recipe
    parameters: dict[str, Array]
    best_round: int
    items: SharedItems | None
    statistics: SharedStatistics | None = None
    scores: "SharedModel | None" = None  # whose scores this one takes as a feature


def write_items(folder: Path, items: SharedItems) -> None:
    """Write the item vectors of a federation."""
    write_atomic(folder / _VECTORS, save_arrays({"vectors": np.ascontiguousarray(items.vectors)}))
    write_atomic(folder / _KEYS, json.dumps(items.keys).encode())


def write_statistics(folder: Path, shared: SharedStatistics) -> None:
    """Write the summed statistics of a federation."""
    arrays = {name: np.ascontiguousarray(array) for name, array in shared.statistics.arrays().items()}
    write_atomic(folder / _COUNTS, save_arrays(arrays))
    write_atomic(folder / _COUNTED, json.dumps(shared.keys).encode())


def write_shared_model(folder: Path, recipe: Recipe, parameters: Mapping[str, Array], best_round: int) -> None:
    """Write the shared parameters, then the description with the hashes of everything beside it."""
    data = save_arrays({name: np.asarray(array, order="C") for name, array in parameters.items()})
    write_atomic(folder / _PARAMETERS, data)
    description: dict[str, Any] = {
        "schema": SCHEMA,
        "fedrec": VERSION,
        "best_round": best_round,
        "parameters": {name: list(array.shape) for name, array in sorted(parameters.items())},
        "sha256": {name: _hash(folder / name) for name in _present(folder)},
        "recipe": recipe.model_dump(mode="json"),
    }
    write_json(folder / _DESCRIPTION, description)


def shared_folder(source: Path) -> Path:
    """Where the export lies: ``source`` is a finished run, or a copy of its folder ``shared``."""
    return source / "shared" if (source / "shared").is_dir() else source


def export_files(folder: Path) -> list[Path]:
    """The files of the export in ``folder``."""
    own = [folder / name for name in (*_present(folder), _DESCRIPTION)]
    return own if folder / _SCORING not in own else [*own, *export_files(folder / SCORES)]


def read_shared_model(folder: Path) -> SharedModel:
    """Read an export; raises :class:`UserError` when it is missing, damaged, or of another schema."""
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no shared model (no model.json); name a finished run that trained `federated`"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {description['schema']!r} is not {SCHEMA}; use the version that wrote it")
        names = _present(folder)
        missing = sorted(set(description["sha256"]) - set(names))
        if missing:
            raise UserError(f"{folder / missing[0]}: missing, or not part of an export; copy the folder again")
        if set(description["sha256"]) != set(names):
            raise UserError(f"{path}: speaks of {sorted(description['sha256'])}, beside it lie {names}; copy it again")
        for name in names:
            if _hash(folder / name) != description["sha256"][name]:
                raise UserError(f"{folder / name}: differs from its hash in model.json; copy the folder again")
        recipe = parse_recipe(description["recipe"], str(path))
        parameters = load_arrays((folder / _PARAMETERS).read_bytes())
        shapes = {name: list(array.shape) for name, array in sorted(parameters.items())}
        if shapes != description["parameters"]:
            raise UserError(f"{folder / _PARAMETERS}: other parameters than model.json says; copy the folder again")
        items = read_items(folder) if _KEYS in names else None
        statistics = read_shared_statistics(folder) if _COUNTED in names else None
        scores = read_shared_model(folder / SCORES) if _SCORING in names else None
        return SharedModel(recipe, parameters, int(description["best_round"]), items, statistics, scores)
    except (OSError, LookupError, TypeError, AttributeError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"{path}: not readable ({error!r:.100}); copy the folder again") from None


def read_items(folder: Path) -> SharedItems:
    """The item vectors of a federation; raises :class:`UserError` where they are not such."""
    with reading(folder):
        keys = json.loads((folder / _KEYS).read_text(encoding="utf-8"))
        vectors = read_arrays(folder / _VECTORS)["vectors"]
        if not all(isinstance(key, str) for key in keys) or vectors.ndim != 2 or len(keys) != len(vectors):
            raise ValueError(f"{len(keys)} keys for vectors of shape {vectors.shape}")
    return SharedItems(keys, vectors)


def read_shared_statistics(folder: Path) -> SharedStatistics:
    """The summed statistics of a federation; raises :class:`ValueError` where they are not such."""
    keys = json.loads((folder / _COUNTED).read_text(encoding="utf-8"))
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("keys that are no texts")
    return SharedStatistics(keys, read_statistics(read_arrays(folder / _COUNTS), len(keys), 1))


def _present(folder: Path) -> list[str]:
    """The files of an export that lie there."""
    every = (_PARAMETERS, _VECTORS, _KEYS, _COUNTS, _COUNTED, _SCORING)
    return [name for name in every if (folder / name).is_file()]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
