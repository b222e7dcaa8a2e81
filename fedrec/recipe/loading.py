"""Recipes from YAML, command line and JSON, checked whole; errors name the key, and the nearest known one."""

import json
import reprlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from fedrec.components.chosen import KIND, Noun
from fedrec.components.plugins import NOTEBOOK, OWN
from fedrec.components.registry import Component, components, nearest
from fedrec.components.section import ComponentSettings, Section
from fedrec.errors import UserError
from fedrec.recipe.contradictions import contradiction
from fedrec.recipe.moved import how_it_moved, moved_key, with_moved_keys
from fedrec.recipe.schema import Recipe
from fedrec.strict_yaml import parse_yaml
from fedrec.words import cleaned

_NOUNS = {
    name: mark for name, field in Recipe.model_fields.items() for mark in field.metadata if isinstance(mark, Noun)
}  # the sections that name a component


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
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as a recipe ({cleaned(str(error), 160)})") from None
    else:
        raise UserError(f"recipe {cleaned(reference, 80)!r} is unknown{nearest(reference, recipe_names())}")
    values = parse_yaml(text, origin)
    if not isinstance(values, dict):
        raise UserError(f"{origin}: a recipe is a mapping of keys to values, not {type(values).__name__}")
    values, said = with_moved_keys(values)
    for override in _kinds_first(overrides):
        said += _apply(values, override)
    for line in said:
        warnings.warn(f"{origin}: {line}", FutureWarning, stacklevel=2)
    return parse_recipe(values, origin)


def named_components(recipe: Recipe) -> list[Component]:
    """The components that a recipe names, sorted by section."""
    kinds = {noun.noun: getattr(recipe, section).kind for section, noun in sorted(_NOUNS.items())}
    return [components(noun)[kind] for noun, kind in kinds.items()]


def plugins_of(recipe: Recipe) -> tuple[str, ...]:
    """The distributions beside fedrec whose components a recipe names, sorted."""
    return tuple(sorted({one.origin for one in named_components(recipe)} - {OWN, NOTEBOOK}))


def kinds_in(values: Mapping[str, Any]) -> dict[str, str]:
    """By noun, the component that the raw ``values`` of a recipe name; nothing is loaded."""
    found = {}
    for section, noun in sorted(_NOUNS.items()):
        value = values.get(section, {})
        kind = value.get(KIND, noun.default) if isinstance(value, Mapping) else value
        found[noun.noun] = cleaned(str(kind), 100)
    return found


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; what keys must be together is checked by :func:`load_recipe` alone."""
    schema = Recipe.model_json_schema()
    for section, mark in _NOUNS.items():
        kinds = {name: one.load().Settings for name, one in components(mark.noun).items()}
        _, found = models_json_schema([(kind, "validation") for kind in kinds.values()], ref_template="#/$defs/{model}")
        schema["$defs"] |= found["$defs"]
        schema["properties"][section] = {"anyOf": [_of_kind(name, kind) for name, kind in kinds.items()]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fedrec recipe"}


def _of_kind(name: str, settings: type[ComponentSettings]) -> dict[str, Any]:
    """The schema of a section that names one component."""
    schema = settings.model_json_schema(ref_template="#/$defs/{model}")
    schema.pop("$defs", None)
    properties = {key: value for key, value in schema["properties"].items() if key != KIND}
    return {**schema, "properties": {KIND: {"const": name}, **properties}}


def override_recipe(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> Recipe:
    """A copy with some keys of some sections changed, then ``a.b=value`` overrides applied."""
    values = recipe.model_dump(mode="json")
    for section, keys in changes.items():
        values[section] |= keys
    for override in _kinds_first(overrides):
        _apply(values, override)
    return parse_recipe(values, "--set")


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Validate already parsed values; ``origin`` names their source in errors."""
    values, _ = with_moved_keys(values)
    for name, noun in _NOUNS.items():
        if name in values and not isinstance(values[name], ComponentSettings):
            values[name] = _chosen(name, noun, values[name], origin)
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


def _chosen(section: str, noun: Noun, value: Any, origin: str) -> ComponentSettings:
    """The settings of the component that a section names."""
    if not isinstance(value, Mapping):
        raise UserError(f"{origin}: {section} = {_shown(value)}: a section; name its component in {section}.{KIND}")
    try:
        settings = noun.settings(value)
    except UserError as error:
        raise UserError(f"{origin}: {section}.{KIND}: {error}") from None
    try:
        return settings.model_validate({KIND: noun.default, **value})
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error, settings, (section,))}") from None


def _kinds_first(overrides: Sequence[str]) -> list[str]:
    """Those that name a component before those of its keys, whatever the order they came in."""
    kinds = tuple(f"{section}.{KIND}=" for section in _NOUNS)
    return sorted(overrides, key=lambda override: not override.replace(" ", "").startswith(kinds))


def _apply(values: dict[str, Any], override: str) -> list[str]:
    """Set one key; what is to be said of its name."""
    given, separator, text = override.partition("=")
    shown = f"--set {cleaned(override, 80)!r}"
    key = moved_key(given.strip(), values)
    said = [] if key == given.strip() else [how_it_moved(given.strip(), key)]
    *parents, last = key.split(".")
    if not separator or not all((*parents, last)):
        raise UserError(f"{shown}: write it as key.key=value, for example --set loss.lam=0")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{shown}: {cleaned(parent, 60)!r} is a value, not a section")
    value = parse_yaml(text, shown)
    noun = _NOUNS.get(".".join(parents)) if last == KIND else None
    if noun is not None and values.get(KIND, noun.default) != value:
        values.clear()  # the other component's keys are none of this one's
    values[last] = value
    return said


def _explain(error: ValidationError, model: type[Section] = Recipe, within: tuple[str, ...] = ()) -> str:
    """The first thing that is wrong in words; ``within``: where in a recipe ``model`` is."""
    first = error.errors()[0]
    key = cleaned(".".join(map(str, (*within, *first["loc"]))), 120)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(str(first['loc'][-1]), list(_known_keys(model, first['loc'][:-1])))}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_type" and isinstance(first["input"], (int, float, bool)):
        message += "; put it in quotes"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key} = {_shown(first['input'])}: {cleaned(message[0].lower() + message[1:], 300)}{more}"


def _shown(value: Any) -> str:
    """A value of any size in a few words."""
    try:
        return cleaned(reprlib.repr(value), 80)
    except ValueError:  # Python does not print integers of thousands of digits
        return "a number of thousands of digits"


def _known_keys(model: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    for part in location:
        model = model.model_fields[part].annotation
    yield from model.model_fields
