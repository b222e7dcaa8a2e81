"""``--set`` and the other options of a run that are texts."""

import random
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from fedrec.recipe import Recipe, recipe_names
from tests.fuzz.judge import Case, command
from tests.fuzz.values import word, yaml_value


def override_case(chance: random.Random, _folder: Path) -> Case:
    """A shipped recipe with one to three ``--set``; the data folder is missing, so what is accepted ends there."""
    texts = [_override(chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    arguments = ["run", chance.choice(recipe_names()), "--data", "missing", "--out", "out"]
    for text in texts:
        arguments += ["--set", text]
    if chance.random() < 0.1:
        option = chance.choice(
            ["--seed", "--engine", "--log", "--track", "--connection", "--out", "--data", "--resume"]
        )
        arguments += [option, _argument(chance.choice([word(chance), yaml_value(chance)]))]
        texts.append(" ".join(map(repr, arguments[-2:])))
    return Case(f"--set {'; '.join(texts)[:200]!r}", [command(*arguments)], ({2},), tidy=True)


def _override(chance: random.Random) -> str:
    shape = chance.random()
    if shape < 0.06:
        return _argument(chance.choice([word(chance), yaml_value(chance)]))
    value = yaml_value(chance) if chance.random() < 0.85 else word(chance)
    return _argument(f"{_key(chance)}={value}")


def _key(chance: random.Random) -> str:
    keys = list(_keys(Recipe))
    known = chance.choice(keys)
    section = known.partition(".")[0]
    if chance.random() < 0.6:
        return known
    return chance.choice(
        [
            section, f"{section}.", f".{known}", f"{section}..{known}", f"{known}.", f"{known}.x", f"{known}.x.y",
            ".", "..",
            "", " ", f" {known}", f"{known} ", known.upper(), f"{known}s", f"{section}.{word(chance)}", word(chance),
            "x" * 5000,
            "a" + ".a" * 2000, f"{known}.0", f"{section}[0]", "data.markets.0", "ease.lambdas.0", "__class__",
            "model_config",
            f"{section}.model_fields", "name", "seed", f"{known[:-1]}", f"{known}=", "1", "1.5", "~",
            f"{section}.{section}",
        ]
    )  # fmt: skip


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the recipe that holds a value."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _argument(text: str) -> str:
    """The text as an argument can hold it: no NUL, and bytes that are no UTF-8 as Python hands them over."""
    return text.replace("\0", "")
