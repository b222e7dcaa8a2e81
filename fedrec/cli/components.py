"""``fedrec components``."""

from typing import Annotated, Any

import typer

from fedrec.components.chosen import KIND
from fedrec.components.registry import components as known
from fedrec.components.registry import nouns
from fedrec.errors import UserError

_HEADER = ("noun", "name", "from", "keys", "goes with")


def components(
    noun: Annotated[str | None, typer.Argument(help="of this noun alone: " + ", ".join(nouns()))] = None,
) -> None:
    """List what a recipe may name: what comes with fedrec, and what installed packages add."""
    rows = [_HEADER]
    for kind in (noun,) if noun is not None else nouns():
        for name, one in known(kind).items():
            try:
                component = one.load()
                rows.append((kind, name, one.origin, ", ".join(_keys(component)), ", ".join(_goes_with(component))))
            except UserError as error:
                rows.append((kind, name, one.origin, f"({error})", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _keys(component: Any) -> list[str]:
    """Of its section; what no recipe names takes flags of its command, or nothing."""
    settings = getattr(component, "Settings", None)
    return (
        sorted(getattr(component, "options", ()))
        if settings is None
        else [key for key in settings.model_fields if key != KIND]
    )


def _goes_with(component: Any) -> list[str]:
    """What not every component of its noun goes with."""
    found = sorted(one.value for one in getattr(component, "capabilities", ()))
    masked = getattr(component, "linear", False) or getattr(component, "codes", True) is False
    return [*found, *(["masks"] if masked else [])]
