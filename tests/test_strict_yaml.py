"""YAML as people write it, against the core schema of YAML 1.2 (section 10.3.2) written out by hand."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import UserError
from fedrec.recipe import load_recipe, parse_recipe
from fedrec.strict_yaml import DEEPEST, dump_yaml, parse_yaml

VALUES = [
    ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("NO", "NO"), ("y", "y"),
    ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("Null", None),
    ("10", 10), ("-3", -3), ("0", 0), ("010", "010"), ("0o17", "0o17"), ("0x1f", "0x1f"), ("1_000", "1_000"),
    ("+5", "+5"), ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("12345678901234567890", "12345678901234567890"),
    ("1.5", 1.5), ("1e3", 1000.0), ("1e-5", 1e-5), (".5", 0.5), ("-.inf", float("-inf")),
    ("2024-01-01", "2024-01-01"), ("<<", "<<"), ("=", "="), ("1.2.3", "1.2.3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_plain_value_is_what_it_looks_like(text: str, value: Any) -> None:
    found = parse_yaml(f"key: {text}", "t.yaml")["key"]
    assert (type(found), found) == (type(value), value)


KEYS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**15), 10**15), st.floats(allow_nan=False), KEYS,
    st.sampled_from([text for text, _ in VALUES]),
)  # fmt: skip
TREES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3))


@given(TREES)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value), "t.yaml") == value


@given(TREES)
def test_what_is_written_means_the_same_to_others(value: Any) -> None:
    """A reader of YAML 1.1 takes our files as they are meant: whatever it would take otherwise stands in quotes."""
    assert yaml.safe_load(dump_yaml({"value": value})) == {"value": value}


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), st.booleans())
def test_a_key_stands_there_once(keys: list[str], flow: bool) -> None:
    """Wherever it is: the first two lines that have it are named."""
    text = "{" + ", ".join(f"{key}: 1" for key in keys) + "}" if flow else "".join(f"  {key}: 1\n" for key in keys)
    whole = f"top:\n{text if not flow else '  ' + text}"
    twice = [key for index, key in enumerate(keys) if key in keys[:index]]
    if not twice:
        assert parse_yaml(whole, "t.yaml") == {"top": dict.fromkeys(keys, 1)}
        return
    with pytest.raises(UserError, match=r"^t\.yaml: lines? [\d and]+: key '[a-d]' stands there twice") as error:
        parse_yaml(whole, "t.yaml")
    if not flow:
        second = next(index for index, key in enumerate(keys) if key in keys[:index])
        assert f"lines {keys.index(keys[second]) + 2} and {second + 2}: " in str(error.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 5000, "line 1: nested deeper"),
        ("a: " + "{b: " * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "nested deeper"),
        ("a: &x [1]\nb: *x", "line 1: anchors and aliases"),
        ("a: !!python/object:os.system {}", "tags"),
        ("a: !!timestamp 5", "tags"),
        ("1: a", "line 1: a key is a text"),
        ("on_: 1\ntrue: a", "line 2: a key is a text"),
        ("? [a]\n: 1", "a key is a text"),
        ("a: [1", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ('a: "\\U99999999"', "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_what_is_not_taken_is_said_in_a_line(text: str, why: str) -> None:
    with pytest.raises(UserError) as error:
        parse_yaml(text, "t.yaml")
    assert why in str(error.value)
    assert len(str(error.value)) < 300
    assert str(error.value).isprintable()


def test_a_byte_order_mark_is_no_part_of_a_key() -> None:
    assert parse_yaml("\ufeffname: x", "t.yaml") == {"name": "x"}


# recipes


def test_markets_are_texts_however_they_are_written() -> None:
    recipe = load_recipe("baselines", ["data.markets=[no, 1, 010, y, on, 1_0]"])
    assert recipe.data.markets == ["010", "1", "1_0", "no", "on", "y"]


@pytest.mark.parametrize("name", ["true", "null", "1.0", "1e5", "[a]"])
def test_a_name_that_is_something_else_must_stand_in_quotes(name: str) -> None:
    with pytest.raises(UserError, match="in quotes"):
        load_recipe("baselines", [f"data.markets=[{name}]"])


NUMBERS = ["seed", "federation.rounds", "loss.lam", "training.learning_rate", "model.dropout", "finetune.epochs"]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("written", ["yes", "on", "true", "True", "no", "1:30", "0x10", "0o17", "[true]", "'yes'"])
def test_nothing_is_silently_another_number(key: str, written: str) -> None:
    with pytest.raises(UserError, match=key):
        load_recipe("fecosr", [f"{key}={written}"])


def test_lists_of_numbers_take_no_true() -> None:
    with pytest.raises(UserError, match=r"ease\.lambdas"):
        load_recipe("baselines", ["ease.lambdas=[10, true]"])


def test_numbers_with_one_meaning_are_taken() -> None:
    recipe = load_recipe("fecosr", ["federation.rounds=010", "seed=1e3", "training.batch_size=1_000"])
    assert (recipe.federation.rounds, recipe.seed, recipe.training.batch_size) == (10, 1000, 1000)


@given(st.recursive(st.integers(), lambda part: st.lists(part, max_size=5), max_leaves=60))
def test_a_value_of_any_size_is_said_shortly(value: Any) -> None:
    with pytest.raises(UserError) as error:
        parse_recipe({"loss": {"lam": [value] * 50}}, "t.yaml")
    assert len(str(error.value)) < 400


def test_a_number_of_thousands_of_digits_is_said_shortly() -> None:
    with pytest.raises(UserError, match="algorithm.kind"):
        parse_recipe({"algorithm": {"kind": 16**5000}}, "t.yaml")
