"""Recipes from YAML, command line and JSON, checked whole; errors name the key, and the nearest known one."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fedrec.errors import UserError
from fedrec.recipe.contradictions import contradiction
from fedrec.recipe.schema import Recipe


def recipe_names() -> list[str]:
    """The recipes shipped with the package."""
    folder = resources.files("fedrec") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The YAML of a shipped recipe."""
    return (resources.files("fedrec") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or file path and apply ``a.b=value`` overrides.

    Raises :class:`UserError` for an unknown recipe or key (with the nearest valid name), a value out of range,
    or YAML that does not parse.
    """
    path = Path(reference)
    if reference in recipe_names():
        origin, text = f"recipe {reference}", recipe_text(reference)
    elif path.suffix in {".yaml", ".yml"} or path.is_file():
        origin = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as a recipe ({_first_line(error)})") from None
    else:
        raise UserError(f"recipe {reference!r} is unknown{_nearest(reference, recipe_names())}")
    values = _parse_yaml(text, origin)
    if not isinstance(values, dict):
        raise UserError(f"{origin}: a recipe is a mapping of keys to values, not {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, origin)


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; what keys must be together is checked by :func:`load_recipe` alone."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fedrec recipe"}


def override_recipe(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> Recipe:
    """A copy with some keys of some sections changed, then ``a.b=value`` overrides applied."""
    values = recipe.model_dump(mode="json")
    for section, keys in changes.items():
        values[section] |= keys
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, "--set")


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Validate already parsed values; ``origin`` names their source in errors."""
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from None
    odds = contradiction(recipe)
    if odds is not None:
        raise UserError(f"{origin}: {odds}")
    return recipe


def recipe_json(recipe: Recipe) -> str:
    """The recipe as one JSON string, the form in which it travels."""
    return json.dumps(recipe.model_dump(mode="json"), sort_keys=True)


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{origin}: not valid YAML ({_first_line(error)})") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override!r}: write it as key.key=value, for example --set loss.lam=0")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override!r}: {parent!r} is a value, not a section")
    values[last] = _parse_yaml(text, f"--set {override!r}")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest(str(first['loc'][-1]), list(_known_keys(first['loc'][:-1])))}"
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}{more}"


def _known_keys(location: tuple[int | str, ...]) -> Iterator[str]:
    model: Any = Recipe
    for part in location:
        model = model.model_fields[part].annotation
    yield from model.model_fields


def _nearest(name: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known: {', '.join(known)}"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
