"""Pages: one file each, nothing loaded from anywhere, light and dark, for screens of any width."""

from importlib import resources
from typing import Any

import jinja2


def page(template: str, **values: Any) -> str:
    """A template of this package filled in; everything that is not marked as safe is escaped."""
    return _ENVIRONMENT.get_template(f"{template}.html.j2").render(**values)


def text(template: str, **values: Any) -> str:
    """As :func:`page`, of a template in Markdown: nothing is escaped."""
    return _ENVIRONMENT.get_template(f"{template}.md.j2").render(**values)


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB" if count >= 1e3 else f"{count:.0f} B"


def _source(name: str) -> str:
    return resources.files("fedrec.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FunctionLoader(_source),
    autoescape=jinja2.select_autoescape(("html.j2",)),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["size"] = size
