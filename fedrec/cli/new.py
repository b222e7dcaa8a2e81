"""``fedrec new``: a folder to begin with."""

import json
import re
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.components.registry import components
from fedrec.errors import UserError
from fedrec.files import new_folder
from fedrec.recipe import load_recipe, recipe_called, recipe_names, recipe_schema, recipe_text
from fedrec.report.html import text
from fedrec.report.tables import print_lines

_PLUGIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SCHEMA = "recipe.schema.json"
# A key of each recipe that is worth a comparison: its name, what to set it to, and what a grid tries.
_WORTH_TRYING = {
    "fecosr": ("loss.lam", "0", "0,0.3"),
    "codes": ("codes.alignment", "none", "auto,none"),
    "fedmm": ("codes.alignment", "none", "auto,none"),
    "acmr": ("pacer.scales", "share", "nothing,share"),
    "neumf": ("algorithm.kind", "mmoe", "neumf,mmoe"),
    "ranker": ("algorithm.min_count", "5", "2,5"),
    "fedease": ("fedease.min_count", "2", None),
    "baselines": None,
}


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="new folder; or the word plugin before a NAME")],
    name: Annotated[
        str | None, typer.Argument(help="after plugin: of a package with a component of your own; its folder too")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="the shipped recipe to begin with; default: fecosr")] = None,
) -> None:
    """Begin a project on one's own data, or a package with a component of one's own (`fedrec new plugin NAME`)."""
    if name is None and str(directory) == "plugin":
        raise UserError("plugin: give the package a name, as in fedrec new plugin NAME")
    if name is None:
        _project(directory, recipe or "fecosr")
    elif str(directory) == "plugin" and recipe is None:
        _plugin(name)
    else:
        raise UserError(f"{name!r}: a second word goes with plugin alone, and --recipe with neither")


def _plugin(name: str) -> None:
    """A package with one encoder, its test and a README."""
    if not _PLUGIN.fullmatch(name):
        raise UserError(f"plugin {name!r}: a name begins with a small letter and has small letters, digits and -")
    module = name.replace("-", "_")
    if iskeyword(module):
        raise UserError(f"plugin {name!r}: is a word of Python's, and no module can be called so; choose another name")
    if find_spec(module) is not None:
        raise UserError(f"plugin {name!r}: there is a module {module} already; choose another name")
    known = components("encoder")
    if name in known:
        raise UserError(f"plugin {name!r}: {known[name].origin} has an encoder of that name; choose another")
    values = {"name": name, "module": module, "class": "".join(part.capitalize() for part in name.split("-"))}
    files = {
        "pyproject.toml": "plugin_pyproject",
        "README.md": "plugin_readme",
        f"src/{module}/encoder.py": "plugin_encoder",
        f"tests/test_{module}.py": "plugin_test",
    }
    with new_folder(Path(name)) as folder:
        (folder / "src" / module).mkdir(parents=True)
        (folder / "tests").mkdir()
        for path, template in files.items():
            (folder / path).write_text(text(template, **values), encoding="utf-8")
        (folder / "src" / module / "__init__.py").write_text(f'"""Components of {name}."""\n', encoding="utf-8")
        (folder / ".gitignore").write_text("runs/\n", encoding="utf-8")
    print_lines(Console(markup=False), [f"begin with {Path(name) / 'README.md'}"])


def _project(directory: Path, recipe: str) -> None:
    """A recipe, its schema for editors, and a README."""
    recipe = recipe_called(recipe)
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
