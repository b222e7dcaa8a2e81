"""Sections of a recipe, and those that a component brings along."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class Section(BaseModel):
    """Base of every part of a recipe: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for one; whoever writes it for a number means something else."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind is not bool and any(isinstance(part, bool) for part in (value if isinstance(value, list) else [value])):
            raise ValueError("true and false are no value of this key; write a number or a text, a text in quotes")
        return value


class ComponentSettings(Section):
    """Base of a component's own settings: the keys of its section beside ``kind``, with defaults and ranges."""

    kind: str = Field(max_length=100, description="which component")
