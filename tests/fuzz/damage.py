"""Damage to the files of run folders and market stores."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from tests.fuzz.values import damaged, json_value, word, yaml_value

_HERE = "@@HERE@@"


def spoil(chance: random.Random, path: Path) -> str:
    """Spoil one file in one way; says how."""
    by_form = {".json": spoil_json, ".jsonl": _spoil_lines, ".yaml": spoil_yaml, ".safetensors": spoil_arrays}
    if chance.random() < 0.4 or path.suffix not in by_form:
        return _spoil_roughly(chance, path)
    try:
        return by_form[path.suffix](chance, path)
    except (ValueError, TypeError, IndexError, RecursionError, SafetensorError):  # it has been spoilt before
        return _spoil_roughly(chance, path)


def _spoil_roughly(chance: random.Random, path: Path) -> str:
    """As a disk, a copy or an editor may do it, whatever is in the file."""
    shape = chance.random()
    if shape < 0.2:
        path.unlink()
        return "deleted"
    if shape < 0.3:
        path.unlink()
        path.mkdir()
        return "a folder in its place"
    if shape < 0.35:
        path.unlink()
        path.symlink_to(chance.choice([path.name, "nowhere", "/dev/null", "."]))
        return f"a link to {path.readlink().name!r} in its place"
    what, content = damaged(chance, path.read_bytes())
    path.write_bytes(content)
    return what


def spoil_json(chance: random.Random, path: Path) -> str:
    """Another value, or none, somewhere in a JSON file."""
    text = path.read_text(encoding="utf-8")
    if chance.random() < 0.1:
        path.write_text(json_value(chance), encoding="utf-8")
        return "another JSON value"
    what, text = _other_json(chance, json.loads(text))
    path.write_text(text, encoding="utf-8")
    return what


def _spoil_lines(chance: random.Random, path: Path) -> str:
    """One line of many is something else."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        path.write_text(json_value(chance), encoding="utf-8")
        return "a line more"
    place = chance.randrange(len(lines))
    if chance.random() < 0.4:
        what, lines[place] = "another JSON value in a line", json_value(chance)
    else:
        what, lines[place] = _other_json(chance, json.loads(lines[place]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {place + 1}: {what}"


def _other_json(chance: random.Random, value: Any) -> tuple[str, str]:
    """The value with one of its parts replaced, removed, renamed or added; as text, for not all of it is JSON."""
    places = list(_places(value, deepest=chance.choice([1, 2, 3, 99])))
    if not places:
        return "another JSON value", json_value(chance)
    parent, key = chance.choice(places)
    shape = chance.random()
    odd = json_value(chance)
    if shape < 0.65:
        parent[key] = _HERE
        what = f"{key!r} is {odd[:40]!r}"
    elif shape < 0.8 or isinstance(parent, list):
        del parent[key]
        what = f"{key!r} is gone"
    elif shape < 0.9:
        parent[word(chance)] = parent.pop(key)
        what = f"{key!r} has another name"
    else:
        parent[word(chance)] = _HERE
        what = f"a key more beside {key!r}"
    return what, json.dumps(value).replace(f'"{_HERE}"', odd)


def _places(value: Any, deepest: int) -> Iterator[tuple[Any, Any]]:
    """Every part of a JSON value down to a depth, as what holds it and the key it has there."""
    if deepest and isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], deepest - 1)


def spoil_yaml(chance: random.Random, path: Path) -> str:
    """Another value, or none, for one key of a YAML file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    place = chance.choice([number for number, line in enumerate(lines) if ":" in line])
    key = lines[place].partition(":")[0]
    shape = chance.random()
    value = yaml_value(chance)
    if shape < 0.7:
        lines[place] = f"{key}: {value}"
        what = f"{key.strip()} is {value[:40]!r}"
    elif shape < 0.85:
        del lines[place]
        what = f"{key.strip()} is gone"
    else:
        lines[place] = f"{word(chance)}: {value}"
        what = f"{key.strip()} has another name"
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return what


def spoil_arrays(chance: random.Random, path: Path) -> str:
    """Other names, shapes, types or numbers in a safetensors file, which is still one; or another header."""
    data = path.read_bytes()
    arrays = load_arrays(data)
    if not arrays or chance.random() < 0.25:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        what, text = _other_json(chance, header)
        spoilt = text.encode("utf-8", "surrogatepass")
        said = chance.choice([len(spoilt)] * 5 + [0, 2**63, 10**8, len(data)])
        path.write_bytes(said.to_bytes(8, "little") + spoilt + data[8 + length :])
        return f"header: {what}"
    name = chance.choice(sorted(arrays))
    array = arrays[name]
    what = chance.choice(
        ["renamed", "dropped", "added", "type", "shape", "not finite", "huge", "negative", "empty", "none"]
    )
    if what == "renamed":
        arrays[word(chance)] = arrays.pop(name)
    elif what == "dropped":
        del arrays[name]
    elif what == "added":
        arrays[word(chance)] = array
    elif what == "type":
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(
                chance.choice(["float64", "float16", "int8", "int64", "bool", "uint8", "int32"])
            )
    elif what == "shape":
        shapes = [
            array.ravel(),
            array[None],
            array[..., None],
            array[:-1] if array.ndim else array,
            np.repeat(array, 2, 0) if array.ndim else array,
        ]
        arrays[name] = np.ascontiguousarray(chance.choice(shapes))
    elif what in {"not finite", "huge", "negative"}:
        value = {"not finite": chance.choice([np.nan, np.inf, -np.inf]), "huge": 1e30, "negative": -1}[what]
        with np.errstate(all="ignore"):
            arrays[name] = np.full(array.shape, value).astype(array.dtype)
    elif what == "empty":
        arrays[name] = np.zeros((0, *array.shape[1:]), array.dtype)
    else:
        arrays = {}
    path.write_bytes(save_arrays({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
    return f"{name}: {what}"


def agree(path: Path) -> None:
    """Make the hashes that speak of a spoilt file those of what it is now, as somebody who means harm would."""
    folder = path.parent
    if (folder / "model.json").is_file() and folder.name in {"shared", "codebook"}:
        _agree_export(folder)
    if (folder / "state.json").is_file():
        _agree_checkpoint(folder)
    if (folder / "seal.json").is_file() and path.name != "seal.json":
        _agree_seal(folder)


def _agree_seal(folder: Path) -> None:
    sealed = json.loads((folder / "seal.json").read_text())
    found = {name: _hash((folder / name).read_bytes()) for name in sealed if (folder / name).is_file()}
    (folder / "seal.json").write_text(json.dumps(found))


def _agree_export(folder: Path) -> None:
    described = folder / "model.json"
    try:
        description = json.loads(described.read_text())
        names = [name for name in description["sha256"] if (folder / name).is_file()]
        description["sha256"] = {name: _hash((folder / name).read_bytes()) for name in names}
        arrays = load_arrays((folder / "model.safetensors").read_bytes())
        description["parameters"] = {name: list(array.shape) for name, array in sorted(arrays.items())}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, SafetensorError):
        return
    described.write_text(json.dumps(description))


def _agree_checkpoint(folder: Path) -> None:
    described = folder / "state.json"
    try:
        description = json.loads(described.read_text())
        hashes = {path.stem: _hash(path.read_bytes()) for path in sorted(folder.glob("*.safetensors"))}
        content = {key: value for key, value in description.items() if key != "sha256"}
        hashes["state"] = _hash(json.dumps(content, sort_keys=True).encode())
        described.write_text(json.dumps({**content, "sha256": hashes}))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def copy(source: Path, target: Path) -> None:
    """A copy to be spoilt."""
    shutil.copytree(source, target, symlinks=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
