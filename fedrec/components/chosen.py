"""What of a recipe names components: a section with its ``kind`` and the component's own keys, or a list of such.

In a list, a component without keys of its own may be written as its name alone.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings
from fedrec.errors import UserError
from fedrec.words import shown

KIND = "kind"


class Noun:
    """Marks a field of a recipe whose value is the settings of a component."""

    def __init__(self, noun: str, default: str) -> None:
        self.noun = noun
        self.default = default

    def kinds(self, value: Any) -> list[Any]:
        """The names in a raw ``value``; nothing is loaded."""
        return [value.get(KIND, self.default) if isinstance(value, Mapping) else value]

    def settings(self, value: Mapping[str, Any]) -> type[ComponentSettings]:
        """The class of the settings that ``value`` is to be read as. Raises :class:`UserError` for an unknown kind."""
        kind = value.get(KIND, self.default)
        if not isinstance(kind, str):
            raise UserError(f"{shown(kind)} is no {self.noun}; write its name")
        found: type[ComponentSettings] = find(self.noun, kind).Settings
        return found

    def read(self, value: Any) -> Any:
        """Settings of ``value``; settings stay as they are."""
        if not isinstance(value, Mapping):
            return value
        try:
            kind = self.settings(value)
        except UserError as error:
            raise ValueError(str(error)) from None
        return kind.model_validate({KIND: self.default, **value})


class Nouns(Noun):
    """Marks a field whose value is a list of them."""

    def __init__(self, noun: str) -> None:
        super().__init__(noun, "")

    def kinds(self, value: Any) -> list[Any]:
        """The names in a raw list."""
        parts = value if isinstance(value, list) else [value]
        return [kind for part in parts for kind in super(Nouns, self).kinds(part)]

    def read(self, value: Any) -> Any:
        """Settings of every entry."""
        if not isinstance(value, (list, tuple)):
            return value
        return [super(Nouns, self).read(entry(part)) for part in value]


def entry(part: Any) -> Any:
    """A list's entry as a section."""
    return {KIND: part} if isinstance(part, str) else part


def chosen(noun: str, default: str) -> Any:
    """The type of a recipe's section for a component of ``noun``."""
    mark = Noun(noun, default)
    default_value = Field(default_factory=lambda: mark.read({}))
    return Annotated[SerializeAsAny[ComponentSettings], mark, BeforeValidator(mark.read), default_value]


def chosen_list(noun: str) -> Any:
    """The type of a recipe's list of components of ``noun``; its default comes from :func:`named`."""
    mark = Nouns(noun)
    return Annotated[list[SerializeAsAny[ComponentSettings]], mark, BeforeValidator(mark.read)]


def named(noun: str, *names: str) -> Callable[[], list[ComponentSettings]]:
    """Makes the settings of components by name, each with its defaults."""
    return lambda: [find(noun, name).Settings() for name in names]
