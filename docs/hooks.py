"""Pages made from the code while the site is built: recipe keys from the schema, commands, the Python names."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import fedrec
from fedrec.cli.main import app
from fedrec.recipe import recipe_schema


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, lines in (("recipe", _recipe()), ("commands", _commands()), ("python", _python())):
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(lines) + "\n"))
    return files


def _recipe() -> Iterator[str]:
    schema = recipe_schema()
    yield "# Recipe keys\n\nMade from the schema (`fedrec recipes --schema`)."
    yield "What the keys mean together: `fedrec recipes fecosr`. Unknown keys are refused with the nearest name."
    yield "On the command line: `--set section.key=value`.\n"
    for key, value in schema["properties"].items():
        if "$ref" in value:
            yield from _section(key, value["$ref"], schema)
        elif value.get("type") in {"string", "integer"}:
            yield f"`{key}`: {_kind(value)}\n"


def _section(path: str, reference: str, schema: dict[str, Any]) -> Iterator[str]:
    section = schema["$defs"][reference.rpartition("/")[2]]
    rows, inner = [], []
    for key, value in section["properties"].items():
        if "$ref" in value:
            inner.append((f"{path}.{key}", value["$ref"]))
        else:
            default = json.dumps(value.get("default"))
            rows.append(f"| `{key}` | {_kind(value)} | `{default}` | {value.get('description', '')} |")
    yield f"## {path}\n\n{section.get('description', '')}\n"
    if rows:
        yield "| key | takes | default | what |\n|-|-|-|-|"
        yield from rows
    yield ""
    for name, deeper in inner:
        yield from _section(name, deeper, schema)


def _kind(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(_kind(one) for one in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_kind(value['items'])}" if "items" in value else "list"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[name]}" for name, sign in signs.items() if name in value]
    return " ".join([str(value.get("type", "anything")), ", ".join(bounds)]).strip()


def _commands() -> Iterator[str]:
    yield "# Command line\n\nMade from the code."
    yield "Errors that a user can cause are one or two lines and exit code 2; a failed run exits 1.\n"
    yield from _command("fedrec", typer.main.get_command(app))


def _command(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)
        return
    yield f"## {path}\n\n{inspect.cleandoc(command.help or '')}\n"
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{path} {usage}\n```\n"
    options = [one for one in command.params if one.param_type_name == "option"]
    rows = [f"| `{'`, `'.join(one.opts)}` | {_escaped(getattr(one, 'help', '') or '')} |" for one in options]
    if rows:
        yield "| option | what |\n|-|-|"
        yield from rows
        yield ""


def _python() -> Iterator[str]:
    yield "# Python\n\nMade from the code. An example that the tests run: `examples/from_python.py`.\n"
    for name in sorted(fedrec.__all__):
        thing = getattr(fedrec, name)
        yield f"## fedrec.{name}\n"
        yield from _described(name, thing)
        if inspect.isclass(thing) and name in {"Run", "Recommender"}:
            for attribute, member in vars(thing).items():
                member = getattr(member, "func", getattr(member, "fget", getattr(member, "__func__", member)))
                if not attribute.startswith("_") and inspect.isfunction(member):
                    yield f"### {name}.{attribute}\n"
                    yield from _described(attribute, member)


def _described(name: str, thing: Any) -> Iterator[str]:
    if inspect.isfunction(thing):
        yield f"```python\n{name}{inspect.signature(thing)}\n```\n"
    yield inspect.cleandoc(thing.__doc__ or "").replace("``", "`") + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
