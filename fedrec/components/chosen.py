"""A recipe's section that names a component: ``kind`` says which, the rest are the component's own keys."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings
from fedrec.errors import UserError

KIND = "kind"


class Noun:
    """Marks a field of a recipe whose value is the settings of a component."""

    def __init__(self, noun: str, default: str) -> None:
        self.noun = noun
        self.default = default

    def settings(self, value: Mapping[str, Any]) -> type[ComponentSettings]:
        """The class of the settings that ``value`` is to be read as. Raises :class:`UserError` for an unknown kind."""
        kind = value.get(KIND, self.default)
        if not isinstance(kind, str):
            raise UserError(f"{kind!r} is no {self.noun}; write its name")
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


def chosen(noun: str, default: str) -> Any:
    """The type of a recipe's section for components of ``noun``."""
    mark = Noun(noun, default)
    default_value = Field(default_factory=lambda: mark.read({}))
    return Annotated[SerializeAsAny[ComponentSettings], mark, BeforeValidator(mark.read), default_value]
