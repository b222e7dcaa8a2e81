"""Keys that had another name in the version before: still read, and said."""

from collections.abc import Mapping
from typing import Any

_OF_MODEL = ("layers", "heads")  # until November 2026 of section model; now of the encoder, or of ACMR


def moved_key(key: str, values: Mapping[str, Any]) -> str:
    """What the dotted ``key`` is called now, in a recipe of ``values``; itself where it has its name still."""
    section, _, name = key.partition(".")
    if section == "model" and name in _OF_MODEL:
        model = values.get("model")
        acmr = isinstance(model, Mapping) and model.get("kind") == "acmr"
        return f"{'acmr' if acmr else 'encoder'}.{name}"
    return key


def how_it_moved(key: str, now: str) -> str:
    """What is said of an old name."""
    return f"{key} is called {now} now; the old name goes with the next version"


def with_moved_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """``values`` under today's names, and what is to be said of each that had another. A new name beside it counts."""
    result: dict[str, Any] = dict(values)
    said = []
    for name in _OF_MODEL:
        model, key = result.get("model"), f"model.{name}"
        if not isinstance(model, Mapping) or name not in model:
            continue
        now = moved_key(key, result)
        target = now.partition(".")[0]
        section = result.get(target, {})
        if isinstance(section, Mapping):
            result[target] = {name: model[name], **section}
            result["model"] = {other: value for other, value in model.items() if other != name}
            said.append(how_it_moved(key, now))
    return result, said
