"""``fedrec recipes``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedrec.errors import UserError
from fedrec.recipe import load_recipe, recipe_called, recipe_names, recipe_schema, recipe_text


def recipes(
    name: Annotated[str | None, typer.Argument(help="print this recipe's YAML, a manual of its keys")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of recipes, for editors")] = False,
) -> None:
    """List the shipped recipes, or print one."""
    if schema:
        if name is not None:
            raise UserError(f"--schema: is that of all recipes; leave out {name}")
        typer.echo(json.dumps(recipe_schema(), indent=1))
        return
    if name is None:
        for known in recipe_names():
            first = recipe_text(known).partition("\n")[0].lstrip("# ")
            typer.echo(f"{known}  {first}")
        return
    name = recipe_called(name)
    load_recipe(name)
    typer.echo(recipe_text(name) if name in recipe_names() else Path(name).read_text(encoding="utf-8"), nl=False)
