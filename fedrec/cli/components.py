"""``fedrec components``."""

from typing import Annotated

import typer

from fedrec.components.chosen import KIND
from fedrec.components.registry import components as known
from fedrec.components.registry import nouns

_HEADER = ("noun", "name", "from", "keys")


def components(
    noun: Annotated[str | None, typer.Argument(help="of this noun alone: " + ", ".join(nouns()))] = None,
) -> None:
    """List what a recipe may name: what comes with fedrec, and what installed packages add."""
    rows = [_HEADER]
    for kind in (noun,) if noun is not None else nouns():
        for name, one in known(kind).items():
            keys = [key for key in one.load().Settings.model_fields if key != KIND]
            rows.append((kind, name, one.origin, ", ".join(keys)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
