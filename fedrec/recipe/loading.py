"""Recipes from YAML, command line and JSON, checked whole; errors name the key, and the nearest known one."""

import json
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedrec.components.chosen import KIND, Noun, Nouns, entry
from fedrec.components.plugins import NOTEBOOK, OWN
from fedrec.components.registry import Component, components, nearest
from fedrec.components.section import ComponentSettings, Section
from fedrec.errors import UserError
from fedrec.recipe.conflicts import conflict
from fedrec.recipe.moved import (
    ALGORITHM,
    algorithm_in,
    as_it_was,
    has_moved,
    how_it_moved,
    moved,
    recipe_called,
    with_moved_keys,
)
from fedrec.recipe.schema import Recipe
from fedrec.strict_yaml import parse_yaml
from fedrec.words import cleaned, shown

_WRITTEN: deque[tuple[Recipe, str]] = deque(maxlen=4)  # recipes, which never change, and their JSON


def _places(section: type[Section], within: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Noun]]:
    """Where a recipe names components, and of which noun."""
    for name, field in section.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Noun)]
        if marks:
            yield (*within, name), marks[0]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _places(field.annotation, (*within, name))


_PLACES = dict(_places(Recipe))
_NOUNS = {place[0]: noun for place, noun in _PLACES.items() if not isinstance(noun, Nouns)}  # sections with a kind


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
    path, reference = Path(reference), recipe_called(reference)
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
    values, said = _changed(values, overrides)
    for line in said:
        warnings.warn(f"{origin}: {line}", FutureWarning, stacklevel=2)
    return parse_recipe(values, origin)


def named_components(recipe: Recipe) -> list[Component]:
    """The components that a recipe names, sorted by noun and name."""
    named = {(noun.noun, one.kind) for place, noun in _PLACES.items() for one in _settings_at(recipe, place)}
    return [components(noun)[kind] for noun, kind in sorted(named)]


def plugins_of(recipe: Recipe) -> tuple[str, ...]:
    """The distributions beside fedrec whose components a recipe names, sorted."""
    return tuple(sorted({one.origin for one in named_components(recipe)} - {OWN, NOTEBOOK}))


def kinds_in(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Noun and name of the components that the raw ``values`` of a recipe name, sorted; nothing is loaded.

    Old keys name them too: what reads the recipe later follows them.
    """
    values, _ = with_moved_keys(values)
    found = set()
    for place, noun in _PLACES.items():
        value: Any = values
        for name in place:
            value = value.get(name) if isinstance(value, Mapping) else None
        default = [noun.default] if noun.default else []
        found |= {(noun.noun, cleaned(str(kind), 100)) for kind in (default if value is None else noun.kinds(value))}
    return sorted(found)


def _settings_at(recipe: Recipe, place: tuple[str, ...]) -> list[ComponentSettings]:
    value: Any = recipe
    for name in place:
        value = getattr(value, name)
    return value if isinstance(value, list) else [value]


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; what keys must be together is checked by :func:`load_recipe` alone."""
    schema = Recipe.model_json_schema()
    for place, mark in _PLACES.items():
        kinds = {name: _of_kind(mark.noun, one, schema["$defs"]) for name, one in components(mark.noun).items()}
        one = {"anyOf": list(kinds.values())}
        within = schema["properties"]
        for name in place[:-1]:
            within = schema["$defs"][within[name]["$ref"].rpartition("/")[2]]["properties"]
        if isinstance(mark, Nouns):
            within[place[-1]]["items"] = {"anyOf": [{"enum": list(kinds)}, *one["anyOf"]]}
        else:
            within[place[-1]] = one
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fedrec recipe"}


def _of_kind(noun: str, component: Component, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section that names one component; what it refers to goes under names of its own."""
    own = f"{noun}.{component.name}."  # two packages may call their settings alike
    schema = component.load().Settings.model_json_schema(ref_template=f"#/$defs/{own}{{model}}")
    definitions.update({own + name: part for name, part in schema.pop("$defs", {}).items()})
    properties = {key: value for key, value in schema["properties"].items() if key != KIND}
    return {**schema, "properties": {KIND: {"const": component.name}, **properties}}


def override_recipe(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> Recipe:
    """A copy with some keys of some sections changed, then ``a.b=value`` overrides applied."""
    values = recipe.model_dump(mode="json")
    for section, keys in changes.items():
        values[section] |= keys
    values, _ = _changed(values, overrides)
    return parse_recipe(values, "--set")


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Validate already parsed values; ``origin`` names their source in errors."""
    values, _ = with_moved_keys(as_it_was(values))
    for place, noun in _PLACES.items():
        values = _with_settings(values, place, (), noun, origin)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from None
    found = conflict(recipe)
    if found is not None:
        raise UserError(f"{origin}: {found}")
    return recipe


def recipe_json(recipe: Recipe) -> str:
    """The recipe as one JSON string, the form in which it travels."""
    for known, text in tuple(_WRITTEN):  # a market is asked with one recipe again and again
        if known is recipe:
            return text
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    _WRITTEN.append((recipe, text))
    return text


def _with_settings(
    values: dict[str, Any], place: tuple[str, ...], within: tuple[str, ...], noun: Noun, origin: str
) -> dict[str, Any]:
    """``values`` with settings where a component is named at ``place``."""
    name, *rest = place
    here = (*within, name)
    value = values.get(name)
    if rest:
        if isinstance(value, Mapping):
            return {**values, name: _with_settings(dict(value), tuple(rest), here, noun, origin)}
        return values
    if name not in values or isinstance(value, ComponentSettings):
        return values
    if not isinstance(noun, Nouns):
        return {**values, name: _chosen(here, noun, value, origin)}
    if not isinstance(value, list):
        return values  # pydantic says what is wrong
    entries = [_chosen((*here, str(number)), noun, entry(part), origin) for number, part in enumerate(value)]
    return {**values, name: entries}


def _chosen(place: tuple[str, ...], noun: Noun, value: Any, origin: str) -> ComponentSettings:
    """The settings of the component that is named at ``place``."""
    if isinstance(value, ComponentSettings):
        return value
    key = ".".join(place)
    if not isinstance(value, Mapping):
        raise UserError(f"{origin}: {key} = {shown(value)}: a section; name its component in {key}.{KIND}")
    try:
        settings = noun.settings(value)
    except UserError as error:
        raise UserError(f"{origin}: {key}.{KIND}: {error}") from None
    try:
        return settings.model_validate({KIND: noun.default, **value})
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error, settings, place)}") from None


def _changed(values: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """``values`` with keys set, under today's names, and what is to be said of old ones.

    Keys that name a component are set before those of its section.
    """
    read = [(*_read(override), override) for override in overrides]
    algorithm = algorithm_in(values, [(key, value) for key, value, _ in read])
    if algorithm != algorithm_in(values):
        _set(values, ALGORITHM, algorithm, ALGORITHM)  # an old name may mean another key for another algorithm
    values, said = with_moved_keys(values, algorithm)
    kinds = {f"{section}.{KIND}" for section in _NOUNS}
    for key, value, override in sorted(read, key=lambda one: kinds.isdisjoint(moved(one[0], one[1], algorithm))):
        now = moved(key, value, algorithm)
        said += [how_it_moved(key, now)] if has_moved(key) else []
        for name, new in now.items():
            _set(values, name, new, override)
    return values, said


def _read(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    shown = f"--set {cleaned(override, 80)!r}"
    if not separator or not all(key.strip().split(".")):
        raise UserError(f"{shown}: write it as key.key=value, for example --set loss.lam=0")
    return key.strip(), parse_yaml(text, shown)


def _set(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {cleaned(override, 80)!r}: {cleaned(parent, 60)!r} is a value, not a section")
    noun = _NOUNS.get(".".join(parents)) if last == KIND else None
    if noun is not None and not _alike(noun, values.get(KIND, noun.default), value):
        values.clear()  # the other component's keys are none of this one's
    values[last] = value


def _alike(noun: Noun, one: Any, other: Any) -> bool:
    """Whether two components have the same keys, because they share the class of their settings."""
    known = components(noun.noun)
    if one == other or not {str(one), str(other)} <= set(known):
        return bool(one == other)
    found: bool = known[one].load().Settings is known[other].load().Settings
    return found


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
    return f"{key} = {shown(first['input'])}: {cleaned(message[0].lower() + message[1:], 300)}{more}"


def _known_keys(model: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    for part in location:
        model = model.model_fields[part].annotation
    yield from model.model_fields
