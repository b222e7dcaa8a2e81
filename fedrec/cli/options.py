"""Options that several commands take."""

from typing import Annotated

import typer

from fedrec.errors import UserError
from fedrec.words import cleaned


def _once_each(overrides: list[str] | None) -> list[str] | None:
    """Of a key that is given twice one value would be dropped in silence."""
    seen: set[str] = set()
    for override in overrides or ():
        key = override.partition("=")[0].strip()
        for other in seen:
            if key == other:
                raise UserError(f"--set {cleaned(override, 80)!r}: the key is given twice; leave one out")
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise UserError(f"--set {cleaned(override, 80)!r}: {other} is given too; write them as one")
        seen.add(key)
    return overrides


Set = Annotated[list[str] | None, typer.Option("--set", help="key.key=value, as often as needed", callback=_once_each)]
