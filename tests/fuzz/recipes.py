"""Recipes: shipped ones, spoilt in text, in values or in bytes."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from fedrec.recipe import recipe_names, recipe_text
from tests.fuzz.judge import Case, command
from tests.fuzz.values import ESCAPE, OVERRIDE, alias_bomb, damaged, word, yaml_value

_FILE_NAMES = (
    f"{ESCAPE}.yaml",
    f"{OVERRIDE}.yaml",
    "a\nb\nc\nd.yaml",
    "\udcff\udce9.yaml",
    " .yaml",
    "-.yaml",
    "日本.yml",
)


def recipe_case(chance: random.Random, folder: Path) -> Case:
    """A file that is no recipe, or hardly one; the data folder is missing, so a good one ends there."""
    text = recipe_text(chance.choice(recipe_names()))
    what, change = chance.choice(_CHANGES)
    content = change(chance, text)
    name = chance.choice(_FILE_NAMES) if chance.random() < 0.05 else "recipe.yaml"
    path = folder / name
    if content is None:
        path.mkdir()
    elif isinstance(content, Path):
        path.symlink_to(content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    what = f"recipe {name!r}: {what}"
    if chance.random() < 0.1:
        return Case(what, [command("recipes", name)], tidy=True, echoes=True)
    return Case(what, [command("run", name, "--data", "missing", "--out", "out")], ({2},), tidy=True)


Change = Callable[[random.Random, str], "str | bytes | Path | None"]


def _value(chance: random.Random, text: str) -> str:
    """Another value for one key."""
    lines = text.split("\n")
    place = chance.choice([number for number, line in enumerate(lines) if ":" in line and not line.startswith("#")])
    key = lines[place].partition(":")[0]
    return "\n".join([*lines[:place], f"{key}: {yaml_value(chance)}", *lines[place + 1 :]])


def _key(chance: random.Random, text: str) -> str:
    """Another name for one key."""
    lines = text.split("\n")
    place = chance.choice([number for number, line in enumerate(lines) if ":" in line and not line.startswith("#")])
    key, _, rest = lines[place].partition(":")
    indent = key[: len(key) - len(key.lstrip())]
    odd = [
        "1",
        "1.5",
        "~",
        "true",
        "no",
        "2001-01-01",
        "[a]",
        "{a: b}",
        "'" + "k" * 5000 + "'",
        "<<",
        "? x",
        "''",
        '"\\e[31m"',
    ]
    odd += [f"{key.strip()} ", key.strip().upper(), f"{key.strip()}\u200b", key.strip().replace("e", "е"), ".nan",
            "!!binary eA==", "*x"]  # fmt: skip
    return "\n".join([*lines[:place], f"{indent}{chance.choice([*odd, yaml_value(chance), word(chance)])}:{rest}",
                      *lines[place + 1 :]])  # fmt: skip


def _twice(chance: random.Random, text: str) -> str:
    """One line a second time, somewhere."""
    lines = text.split("\n")
    line = chance.choice(lines)
    place = chance.randrange(len(lines))
    return "\n".join([*lines[:place], line, *lines[place:]])


def _indent(chance: random.Random, text: str) -> str:
    """One line further in or out, or behind a tab."""
    lines = text.split("\n")
    place = chance.randrange(len(lines))
    lines[place] = chance.choice(["\t", " ", "    ", "\u00a0", ""]) + lines[place].lstrip()
    return "\n".join(lines)


def _section(chance: random.Random, text: str) -> str:
    """Something else where a section stands."""
    values = yaml.safe_load(text)
    name = chance.choice([key for key, value in values.items() if isinstance(value, dict)])
    rest = {key: value for key, value in values.items() if key != name}
    return f"{yaml.safe_dump(rest)}{name}: {yaml_value(chance)}\n"


def _typed(chance: random.Random, text: str) -> str:
    """A value of another type for one key, written as YAML writes it."""
    values = yaml.safe_load(text)
    section = chance.choice([value for value in values.values() if isinstance(value, dict)] + [values])
    odd: list[Any] = [None, True, False, 0, -1, 1.5, 10**30, -(10**400), float("inf"), float("nan"), "", "x", " ",
    "0", [],
                      [None], {}, {"a": 1}, [1, 2], b"\xff", "\0", "\x1b[31m", "日本", "x" * 10_000,
                      [["x"] * 50] * 50]  # fmt: skip
    section[chance.choice(list(section))] = chance.choice(odd)
    return yaml.safe_dump(values, allow_unicode=True)


def _bytes(chance: random.Random, text: str) -> bytes:
    return damaged(chance, text.encode())[1]


def _added(chance: random.Random, text: str) -> str:
    """One more line at the end or the beginning."""
    extra = f"{word(chance) or 'x'}: {yaml_value(chance)}\n"
    return text + extra if chance.random() < 0.5 else extra + text


def _alone(chance: random.Random, _text: str) -> str:
    """The whole file is one value."""
    return yaml_value(chance)


def _pair(chance: random.Random, text: str) -> str:
    return _value(chance, _value(chance, text))


_CHANGES: list[tuple[str, Change]] = [
    ("a value", _value),
    ("a value", _value),
    ("a value", _value),
    ("two values", _pair),
    ("a key", _key),
    ("a key", _key),
    ("a line twice", _twice),
    ("an indent", _indent),
    ("a section", _section),
    ("a type", _typed),
    ("a type", _typed),
    ("bytes", _bytes),
    ("bytes", _bytes),
    ("a line more", _added),
    ("one value alone", _alone),
    ("a folder", lambda _chance, _text: None),
    ("a link to itself", lambda _chance, _text: Path("recipe.yaml")),
    ("no bytes at all", lambda _chance, _text: Path("/dev/null")),
    ("nothing", lambda _chance, _text: ""),
    ("a comment alone", lambda _chance, _text: "# x\n"),
    ("a list", lambda _chance, _text: "- name: x\n- seed: 1\n"),
    ("a text", lambda _chance, _text: "fecosr\n"),
    ("null", lambda _chance, _text: "null\n"),
    ("two documents", lambda _chance, text: f"{text}---\n{text}"),
    ("two documents, one empty", lambda _chance, text: f"---\n...\n---\n{text}"),
    ("a directive", lambda _chance, text: f"%YAML 7.0\n%TAG ! x\n---\n{text}"),
    ("BOM", lambda _chance, text: "\ufeff" + text),
    ("UTF-16", lambda _chance, text: text.encode("utf-16")),
    ("UTF-32", lambda _chance, text: text.encode("utf-32")),
    ("Latin-1", lambda _chance, text: (text + "# é\n").encode("latin-1")),
    ("CR only", lambda _chance, text: text.replace("\n", "\r")),
    ("CRLF", lambda _chance, text: text.replace("\n", "\r\n")),
    ("tabs", lambda _chance, text: text.replace("  ", "\t")),
    ("NUL", lambda _chance, text: text.replace("seed", "se\0ed", 1)),
    ("an escape", lambda _chance, text: text.replace("seed", f"se{ESCAPE}ed", 1)),
    ("deep brackets", lambda _chance, _text: "[" * 10_000),
    ("deep sections", lambda _chance, _text: "".join(f"{' ' * depth}a:\n" for depth in range(2000))),
    ("deep flow", lambda _chance, _text: "data: " + "{a: " * 3000 + "1" + "}" * 3000),
    ("deep list", lambda _chance, _text: "ease:\n  lambdas: " + "[" * 900 + "]" * 900),
    ("an alias bomb", lambda _chance, text: f"{text}bomb: {alias_bomb(12)}\n"),
    ("an alias bomb for a list", lambda _chance, _text: f"ease:\n  lambdas: {alias_bomb(12)}\n"),
    ("an alias bomb at the top", lambda _chance, _text: alias_bomb(30)),
    ("a section that holds itself", lambda _chance, _text: "data: &a\n  markets: *a\n"),
    ("a mapping that holds itself", lambda _chance, _text: "&a\ndata: *a\n"),
    ("merge keys", lambda _chance, text: f"x: &x {{name: y}}\n<<: *x\n{text}"),
    ("a long key", lambda _chance, text: f"{'k' * 100_000}: 1\n{text}"),
    ("many keys", lambda _chance, _text: "".join(f"k{number}: 1\n" for number in range(3000))),
]  # fmt: skip
