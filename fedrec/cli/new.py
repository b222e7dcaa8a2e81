"""``fedrec new``: a folder to begin with."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.errors import UserError
from fedrec.files import new_folder
from fedrec.recipe import load_recipe, recipe_names, recipe_schema, recipe_text
from fedrec.report.html import text
from fedrec.report.tables import print_lines

_SCHEMA = "recipe.schema.json"
# A key of each recipe that is worth a comparison: its name, what to set it to, and what a grid tries.
_WORTH_TRYING = {
    "fecosr": ("loss.lam", "0", "0,0.3"),
    "codes": ("codes.alignment", "none", "auto,none"),
    "fedmm": ("codes.alignment", "none", "auto,none"),
    "acmr": ("pacer.scales", "share", "nothing,share"),
    "fedease": ("fedease.min_count", "2", None),
    "floors": None,
}


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="new folder")],
    recipe: Annotated[str, typer.Option(help="the shipped recipe to begin with")] = "fecosr",
) -> None:
    """Begin a project on one's own data: a recipe, its schema for editors, and a README."""
    if recipe not in recipe_names():
        raise UserError(f"--recipe {recipe!r}: unknown; known: {', '.join(recipe_names())}")
    with new_folder(directory) as folder:
        line = f"# yaml-language-server: $schema={_SCHEMA}\n"
        (folder / "recipe.yaml").write_text(line + recipe_text(recipe), encoding="utf-8")
        (folder / _SCHEMA).write_text(json.dumps(recipe_schema(), indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(
            text("project", name=directory.resolve().name, recipe=load_recipe(recipe), worth=_WORTH_TRYING[recipe]),
            encoding="utf-8",
        )
        (folder / ".gitignore").write_text("data/\nruns/\n", encoding="utf-8")
    print_lines(Console(markup=False), [f"begin with {directory / 'README.md'}"])
