"""What a run writes down so that it can go on: journal, checkpoints, and whether it still is the same run."""

import json
import shutil

import numpy as np
import pytest

from fedrec.errors import UserError
from fedrec.recipe import Recipe, load_recipe, override_recipe
from fedrec.runs.folder import Checkpoint, RunFolder
from fedrec.runs.journal import Journal
from fedrec.runs.manifest import build_manifest, what_differs

# journal


def test_the_journal_comes_back_as_it_was_written(tmp_path):
    journal = Journal(
        {"hello": {"jp": {"users": 3.0}}, "stage": [1, None, "text", {"deep": True}]},
        [{"market": "uk", "action": "train.local", "reason": "out of memory"}],
        12,
        2**40,
        {"rounds": 1.25},
    )
    run = RunFolder.create(tmp_path / "run", Recipe())
    run.write_journal(journal)
    assert RunFolder(run.path).read_journal() == journal


def test_a_new_run_has_finished_nothing(tmp_path):
    """And what it then writes is its own: two journals share no list or dictionary."""
    run = RunFolder.create(tmp_path / "run", Recipe())
    first = run.read_journal()
    assert first == Journal({}, [], 0, 0, {})
    first.steps["hello"] = {}
    first.failed.append({"market": "jp", "action": "train.local", "reason": "full"})
    assert run.read_journal() == Journal()


# checkpoints


def made(number):
    generator = np.random.default_rng(number)
    arrays = {
        "shared": {"encoder.w": generator.normal(size=(3, 2)).astype(np.float32), "adaptor.b": np.zeros(0, np.float32)},
        "server": {"first.encoder.w": generator.normal(size=(3, 2)), "steps": np.array([number])},
    }
    return Checkpoint(number, arrays, {"best_round": number - 1, "records": [{"round": number}], "score": None})


def saved(tmp_path, *numbers):
    run = RunFolder.create(tmp_path / "run", Recipe())
    for number in numbers:
        run.checkpoint(made(number))
    return run


def assert_is(found, expected):
    assert found is not None
    assert found.round == expected.round
    assert found.state.items() >= expected.state.items()
    assert found.arrays.keys() == expected.arrays.keys()
    for group, arrays in expected.arrays.items():
        assert found.arrays[group].keys() == arrays.keys()
        for name, value in arrays.items():
            assert found.arrays[group][name].dtype == value.dtype
            np.testing.assert_array_equal(found.arrays[group][name], value)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path):
    run = saved(tmp_path, 9, 10)
    assert_is(RunFolder(run.path).last_checkpoint(), made(10))


def test_a_run_without_rounds_has_none(tmp_path):
    assert saved(tmp_path).last_checkpoint() is None


def of_the_last(name, change):
    """Damage to one file of the latest checkpoint."""

    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return damage


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE = {
    "state-not-yet-written": lambda folder: (folder / "state.json").unlink(),
    "group-missing": lambda folder: (folder / "server.safetensors").unlink(),
    "folder-empty": lambda folder: [path.unlink() for path in folder.iterdir()],
    "folder-a-file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "state-truncated": of_the_last("state.json", lambda data: data[: len(data) // 2]),
    "state-empty": of_the_last("state.json", lambda data: b""),
    "state-no-text": of_the_last("state.json", lambda data: b"\xff\xfe" + data),
    "state-without-hashes": of_the_last("state.json", lambda data: data.replace(b"sha256", b"sha255")),
    "state-a-list": of_the_last("state.json", lambda data: b"[]"),
    "state-null": of_the_last("state.json", lambda data: b"null"),
    "hashes-a-list": of_the_last(
        "state.json", lambda data: json.dumps({**json.loads(data), "sha256": ["shared"]}).encode()
    ),
    "hash-altered": of_the_last(
        "state.json", lambda data: json.dumps({**json.loads(data), "sha256": {"shared": "0" * 64}}).encode()
    ),
    "group-truncated": of_the_last("shared.safetensors", lambda data: data[:-1]),
    "group-longer": of_the_last("shared.safetensors", lambda data: data + b"\0"),
    "group-empty": of_the_last("shared.safetensors", lambda data: b""),
    "one-bit-of-a-number": of_the_last("shared.safetensors", lambda data: flipped(data, len(data) - 1)),
    "one-bit-of-a-header": of_the_last("server.safetensors", lambda data: flipped(data, 12)),
    "half-written-beside": lambda folder: (
        (folder / "state.json").rename(folder / ".state.json.abc"),
        (folder / "shared.safetensors").write_bytes(b"x"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_checkpoint_that_is_not_whole_is_passed(tmp_path, damage):
    """The one before it is taken; where that is damaged too, the run starts over."""
    run = saved(tmp_path, 4, 5)
    damage(run.path / "checkpoints" / "pretrain" / "round-000005")
    assert_is(run.last_checkpoint(), made(4))
    damage(run.path / "checkpoints" / "pretrain" / "round-000004")
    assert run.last_checkpoint() is None


def test_a_round_done_again_replaces_its_checkpoint(tmp_path):
    run = saved(tmp_path, 4, 5)
    DAMAGE["group-truncated"](run.path / "checkpoints" / "pretrain" / "round-000005")
    again = Checkpoint(5, made(77).arrays, {"best_round": 1})
    run.checkpoint(again)
    assert_is(run.last_checkpoint(), again)


def test_a_run_that_starts_over_keeps_what_it_writes(tmp_path):
    """Both checkpoints are damaged, so it begins with round 1 again: what it saves now is what it goes on from."""
    run = saved(tmp_path, 4, 5)
    for name in ("round-000004", "round-000005"):
        DAMAGE["one-bit-of-a-number"](run.path / "checkpoints" / "pretrain" / name)
    for number in (1, 2):
        run.checkpoint(made(number))
        assert_is(run.last_checkpoint(), made(number))


# the same run?

HASHES = {"de": "11", "jp": "22"}


def manifest_of(recipe, tmp_path):
    """Through a file, as the run that goes on reads it."""
    run = RunFolder(tmp_path)
    run.write_manifest(build_manifest(recipe, tmp_path, HASHES, "cpu"))
    return run.read_manifest()


@pytest.fixture
def recipe():
    return load_recipe("fecosr", ["evaluation.protocol=global-time", "evaluation.cut_date=2017-01-31", "loss.tau=0.07"])


def test_nothing_differs_from_itself(recipe, tmp_path):
    assert what_differs(manifest_of(recipe, tmp_path), recipe, recipe, dict(HASHES), "cpu") is None


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("seed=1", "seed", ["1", "0"]),
        ("loss.tau=0.08", "loss.tau", ["0.08", "0.07"]),
        ("aggregator.kind=fedadam", "aggregator.kind", ["fedadam", "mean"]),
        ("update.clip_norm=2.0", "update.clip_norm", ["2.0", "None"]),
        ("data.markets=[jp]", "data.markets", ["jp", "None"]),
        ("ease.lambdas=[10.0]", "ease.lambdas", ["[10.0]", "[10.0, 100.0"]),
        ("evaluation.cut_date=2017-02-01", "evaluation.cut_date", ["2017-02-01", "2017-01-31"]),
        ("evaluation.methods=[ease]", "evaluation.methods", ["ease", "federated"]),
        ("name=other", "name", ["other", "fecosr"]),
    ],
)
def test_another_recipe_is_named_by_its_key_and_both_values(recipe, tmp_path, override, key, words):
    changed = override_recipe(recipe, {}, [override])
    difference = what_differs(manifest_of(recipe, tmp_path), changed, recipe, HASHES, "cpu")
    assert difference is not None
    assert f" {key} " in difference
    assert all(word in difference for word in words)


def test_auto_that_was_resolved_is_no_difference(tmp_path):
    """The manifest has the recipe as it was asked for, the run's recipe what ``auto`` came to."""
    asked = load_recipe("fecosr")
    assert asked.evaluation.protocol == asked.semantics.kind == "auto"
    resolved = asked.resolved(every_market_has_families=True, every_market_has_text=False)
    assert (resolved.evaluation.protocol, resolved.semantics.kind) == ("family", "cooccurrence")
    manifest = manifest_of(asked, tmp_path)
    assert what_differs(manifest, resolved, resolved, HASHES, "cpu") is None
    changed = override_recipe(resolved, {}, ["semantics.dimension=64"])
    assert "semantics.dimension" in str(what_differs(manifest, changed, resolved, HASHES, "cpu"))
    changed = override_recipe(resolved, {}, ["evaluation.protocol=temporal"])
    assert "evaluation.protocol" in str(what_differs(manifest, changed, resolved, HASHES, "cpu"))
    changed = override_recipe(resolved, {}, ["training.device=cpu"])
    assert "training.device" in str(what_differs(manifest, changed, resolved, HASHES, "cpu"))


@pytest.mark.parametrize("now", [{"de": "11", "jp": "23"}, {"de": "11"}], ids=["changed", "gone"])
def test_other_data_is_named_by_its_market(recipe, tmp_path, now):
    assert "'jp'" in str(what_differs(manifest_of(recipe, tmp_path), recipe, recipe, now, "cpu"))


def test_data_that_took_no_part_may_come_and_go(recipe, tmp_path):
    assert what_differs(manifest_of(recipe, tmp_path), recipe, recipe, {**HASHES, "uk": "33"}, "cpu") is None


@pytest.mark.parametrize("package", ["fedrec", "torch", "numpy"])
def test_another_version_is_named_with_both(recipe, tmp_path, package):
    manifest = manifest_of(recipe, tmp_path)
    now = manifest["versions"][package]
    manifest["versions"][package] = "0.0.7"
    difference = str(what_differs(manifest, recipe, recipe, HASHES, "cpu"))
    assert difference.startswith(package)
    assert now in difference
    assert "0.0.7" in difference


def test_a_damaged_file_of_the_run_is_named(tmp_path):
    run = saved(tmp_path)
    for name, read in (("manifest.json", run.read_manifest), ("journal.json", run.read_journal)):
        (run.path / name).write_text('{"schema": 1,')
        with pytest.raises(UserError, match=name):
            read()
