"""The shared model as an export: what is written comes back, and nothing else is taken for it."""

import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.runs.shared import SharedItems, read_shared_model, write_items, write_shared_model

RECIPE = load_recipe("fecosr", ["model.dimension=8", "loss.tau=0.07", "evaluation.protocol=temporal"])
PARAMETERS = {
    "encoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "adaptor.bias": np.array([0.1, -0.0, np.finfo(np.float32).tiny], np.float32),
}
ITEMS = SharedItems(["a", "b–é", "c"], np.array([[1, 2], [0, 0], [-3, 0.5]], np.float32))


def export(folder, items=ITEMS):
    if items is not None:
        write_items(folder, items)
    write_shared_model(folder, RECIPE, PARAMETERS, 7)
    return folder


@pytest.fixture
def full(tmp_path):
    """An export with item vectors."""
    return export(tmp_path)


@pytest.mark.parametrize("items", [ITEMS, None], ids=["items", "no-items"])
def test_what_is_written_comes_back(tmp_path, items):
    model = read_shared_model(export(tmp_path, items))
    assert model.recipe == RECIPE
    assert model.best_round == 7
    assert model.parameters.keys() == PARAMETERS.keys()
    for name, value in PARAMETERS.items():
        assert model.parameters[name].dtype == np.float32
        np.testing.assert_array_equal(model.parameters[name], value)
    assert (model.items is None) == (items is None)
    if model.items is not None:
        assert model.items.keys == ITEMS.keys
        np.testing.assert_array_equal(model.items.vectors, ITEMS.vectors)


def test_the_description_says_what_is_in_the_files(full):
    """Shapes by name, and the SHA-256 of every file beside it."""
    description = json.loads((full / "model.json").read_text())
    assert description["parameters"] == {"adaptor.bias": [3], "encoder.weight": [3, 2]}
    others = {path.name: path for path in full.iterdir() if path.name != "model.json"}
    assert set(others) == {"model.safetensors", "items.safetensors", "items.json"}
    assert description["sha256"] == {name: sha256(path.read_bytes()).hexdigest() for name, path in others.items()}


def test_the_same_model_is_the_same_bytes(tmp_path):
    one, other = (export(tmp_path / name) for name in ("one", "other"))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }


def test_vectors_of_keys(full):
    """Rows in the order asked for, zeros where the federation does not know the key, and repeats are fine."""
    rows = ITEMS.of(["c", "nobody", "a", "c", "b–é"])
    assert rows.tolist() == [[-3, 0.5], [0, 0], [1, 2], [-3, 0.5], [0, 0]]
    assert rows.dtype == np.float32
    assert ITEMS.of([]).shape == (0, 2)


FILES = ["model.safetensors", "items.safetensors", "items.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 9, -1])
def test_a_changed_byte_is_noticed(full, name, place):
    data = bytearray((full / name).read_bytes())
    data[place] ^= 1
    (full / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        read_shared_model(full)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_noticed(full, name):
    (full / name).write_bytes((full / name).read_bytes()[:-1])
    with pytest.raises(UserError, match=name):
        read_shared_model(full)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(full, name):
    """As when a copy was broken off: an error for the person who copied, with the file's name, not a traceback."""
    (full / name).unlink()
    with pytest.raises(UserError, match=name):
        read_shared_model(full)


def test_a_folder_without_a_model_says_what_to_name(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="no shared model"):
            read_shared_model(path)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(full, schema):
    describe(full, schema=schema)
    with pytest.raises(UserError, match="schema"):
        read_shared_model(full)


def describe(folder, **changes):
    """Change entries of the description; ... removes one."""
    description = json.loads((folder / "model.json").read_text()) | changes
    (folder / "model.json").write_text(json.dumps({key: v for key, v in description.items() if v is not ...}))


@pytest.mark.parametrize("key", ["best_round", "sha256", "recipe", "schema"])
def test_a_description_that_lacks_something_is_refused(full, key):
    describe(full, **{key: ...})
    with pytest.raises(UserError, match=r"model\.json|items\.safetensors: not readable"):
        read_shared_model(full)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '{"schema": 1', '{"schema": 1}', "\xff"])
def test_a_description_that_is_none_is_refused(full, text):
    (full / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"model\.json|items\.safetensors: not readable"):
        read_shared_model(full)


@pytest.mark.parametrize("value", ["seven", [7], {}])
def test_a_round_that_is_no_number_is_refused(full, value):
    describe(full, best_round=value)
    with pytest.raises(UserError, match=r"model\.json|items\.safetensors: not readable"):
        read_shared_model(full)


def test_a_recipe_that_is_none_is_refused(full):
    recipe = json.loads((full / "model.json").read_text())["recipe"]
    describe(full, recipe={**recipe, "model": {**recipe["model"], "dimension": -1}})
    with pytest.raises(UserError, match=r"model\.dimension"):
        read_shared_model(full)


def hashes_of(folder):
    return json.loads((folder / "model.json").read_text())["sha256"]


@pytest.mark.parametrize("trick", ["../secret", "/etc/hostname", "items.json/../../secret", "model.json", ".", ""])
def test_names_outside_the_export_are_never_read(tmp_path, trick):
    """The hash is that of the file the name leads to, so only the name can be the reason."""
    (tmp_path / "secret").write_text("x")
    folder = export(tmp_path / "export")
    target = Path(os.path.normpath(folder / trick))
    digest = sha256(target.read_bytes() if target.is_file() else b"").hexdigest()
    describe(folder, sha256={**hashes_of(folder), trick: digest})
    with pytest.raises(UserError):
        read_shared_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "items.safetensors"])
def test_a_file_that_was_written_wrong_is_refused(full, name):
    """Its hash is right, but it is no safetensors file."""
    (full / name).write_bytes(b"not a table of numbers")
    describe(full, sha256={**hashes_of(full), name: sha256(b"not a table of numbers").hexdigest()})
    with pytest.raises(UserError, match=r"model\.json|items\.safetensors: not readable"):
        read_shared_model(full)


@pytest.mark.parametrize("name", ["model.safetensors", "items.safetensors"])
def test_numbers_that_no_hash_vouches_for_are_refused(full, name):
    """``model.json`` has the hashes of everything beside it: without one, any numbers would pass for the model's."""
    describe(full, sha256={other: digest for other, digest in hashes_of(full).items() if other != name})
    with pytest.raises(UserError):
        read_shared_model(full)
