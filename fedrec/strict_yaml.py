"""YAML as people read it: the core types of YAML 1.2 (https://yaml.org/spec/1.2.2/, 10.3), nothing by surprise.

PyYAML reads YAML 1.1, where ``no`` is false, ``010`` is eight and ``1:30`` is ninety, and where of a key that stands
there twice the first is thrown away without a word. Here keys are texts and stand there once. A number is only what has
one way of being written: ``010``, ``0x1f`` and ``1_000`` stay texts, which a field that wants a number reads as Python
does, or refuses. Not taken: tags, aliases, merges (``<<``), and more than ``DEEPEST`` levels.
"""

import re
from typing import Any

import yaml

from fedrec.errors import UserError
from fedrec.words import cleaned

DEEPEST = 20
_CORE = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN"),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"-?(0|[1-9][0-9]{0,17})", "-0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+))|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


class _CoreLoader(yaml.SafeLoader):
    """The safe loader, with other types and without what a recipe has no use for."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's way of saying so

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refusal("anchors and aliases are not taken; write the value out", event.start_mark)
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refusal("tags (!...) are not taken; write a plain value", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refusal(f"nested deeper than {DEEPEST} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _refusal("a key is a text; put it in quotes", key.start_mark)
            if key.value in seen:
                earlier, here = seen[key.value].line + 1, key.start_mark.line + 1
                where = f"lines {earlier} and {here}" if earlier != here else f"line {here}"
                raise _RefusedError(f"{where}: key {cleaned(key.value, 60)!r} stands there twice; keep one of them")
            seen[key.value] = key.start_mark
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Nothing is merged: ``<<`` is a key like others."""


class _RefusedError(Exception):
    """What this module does not take."""


def _refusal(why: str, mark: yaml.Mark) -> _RefusedError:
    return _RefusedError(f"line {mark.line + 1}: {why}")


class _CoreDumper(yaml.SafeDumper):
    """Puts in quotes what either version of YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


for _tag, (_pattern, _first) in _CORE.items():
    for _kind in (_CoreLoader, _CoreDumper):
        _kind.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first, ""])


def dump_yaml(value: Any) -> str:
    """YAML that :func:`parse_yaml` reads back as it was, in the order of the keys."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, origin: str) -> Any:
    """The value of one YAML document; raises :class:`UserError` naming ``origin``, line and remedy."""
    try:
        return yaml.load(text.removeprefix("\ufeff"), _CoreLoader)  # noqa: S506  a safe loader, made safer
    except _RefusedError as error:
        raise UserError(f"{origin}: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise UserError(f"{origin}: not valid YAML ({cleaned(str(error), 200)})") from None
