"""Sections of a recipe, and those that a component brings along."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator


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


def without_keys(kind: str) -> type[ComponentSettings]:
    """Settings of a component that has no keys but its ``kind``.

    >>> without_keys("mean")()
    MeanSettings(kind='mean')
    """
    name = "".join(part.capitalize() for part in kind.replace("-", "_").split("_"))
    return create_model(f"{name}Settings", __base__=ComponentSettings, __doc__=f"Of {kind}.", kind=(str, kind))
