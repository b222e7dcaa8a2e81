"""Which components there are: ours, those of installed packages, and those that a notebook registers.

A package offers a component by an entry point of group ``fedrec.NOUN``; a name is taken once. Ours stand in a table of
the same form (:mod:`fedrec.components.house`), so that they are found where no package metadata are. Nothing is
imported before its name is asked for.
"""

import difflib
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from fedrec.components.house import BASES, HOUSE
from fedrec.components.plugins import GROUP, NOTEBOOK, OWN, Offer, offer_of, offers_here
from fedrec.components.section import ComponentSettings
from fedrec.errors import UserError, place_of

_COMPARED, _ALIKE = 80, 0.4  # characters of a name that is looked for, and how alike the nearest has to be
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Component:
    """One component. ``origin``: the distribution that brings it; ``reference``: where, as ``module:attribute``."""

    noun: str
    name: str
    origin: str
    reference: str
    given: Any = field(default=None, compare=False, repr=False)  # of a notebook: the component itself

    def load(self) -> Any:
        """The component itself. Raises :class:`UserError` where its package cannot be imported or has no settings."""
        found = self.given
        if found is None:
            try:
                found = _loaded(self.reference)
            except (ImportError, AttributeError, SyntaxError) as error:
                raise UserError(
                    f"{self.noun} {self.name!r} of {self.origin} cannot be loaded: {error} ({place_of(error)})"
                ) from error
        base = _loaded(BASES[self.noun])
        if not (isinstance(found, type) and issubclass(found, base)):
            raise UserError(f"{self.noun} {self.name!r} of {self.origin}: is no subclass of {base.__name__}")
        settings = getattr(found, "Settings", None)
        wanted = "Settings" in getattr(base, "__annotations__", {})  # a noun that recipes name
        if wanted and not (isinstance(settings, type) and issubclass(settings, ComponentSettings)):
            raise UserError(f"{self.noun} {self.name!r} of {self.origin}: its Settings are no ComponentSettings")
        return found


def _loaded(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


_registered: dict[tuple[str, str], Component] = {}


def register(noun: str, name: str, component: Any) -> None:
    """Make ``component`` known under ``name`` in this process, as a notebook does; again replaces it.

    Raises :class:`UserError` for a noun there is not, and for a name that a package has.
    """
    taken = {one.name: one for one in _found(noun)}
    if not _NAME.fullmatch(name):
        raise UserError(f"{noun} {name!r}: a name has small letters, digits, - and _")
    if name in taken:
        raise UserError(f"{noun} {name!r}: taken by {taken[name].origin}; choose another name")
    reference = f"{component.__module__}:{component.__qualname__}"
    _registered[noun, name] = Component(noun, name, NOTEBOOK, reference, component)


def components(noun: str) -> dict[str, Component]:
    """All of a noun, by name. Raises :class:`UserError` where two packages offer the same name."""
    result: dict[str, Component] = {}
    for one in (*_found(noun), *(known for (kind, _), known in sorted(_registered.items()) if kind == noun)):
        if one.name in result:
            raise UserError(
                f"{noun} {one.name!r}: offered by {result[one.name].origin} and by {one.origin}; uninstall one"
            )
        result[one.name] = one
    return dict(sorted(result.items()))


def find(noun: str, name: str) -> Any:
    """The component of a name, loaded. Raises :class:`UserError` for an unknown one, with the nearest."""
    known = components(noun)
    if name not in known:
        raise UserError(f"{name!r} is no {noun}{nearest(name, list(known))}")
    return known[name].load()


def nouns() -> tuple[str, ...]:
    """What can be added."""
    return tuple(HOUSE)


def nearest(name: str, known: Sequence[str]) -> str:
    """``; did you mean ...?`` or all that are known, for an error."""
    close = difflib.get_close_matches(name[:_COMPARED], known, n=1, cutoff=_ALIKE)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


@cache
def _found(noun: str) -> tuple[Component, ...]:
    """Ours, and those of the distributions that are installed here."""
    if noun not in HOUSE:
        raise UserError(f"{noun!r} is nothing that can be added{nearest(noun, list(HOUSE))}")
    return (
        *(Component(noun, name, OWN, reference) for name, reference in HOUSE[noun].items()),
        *_offered(noun),
    )


def _offered(noun: str) -> Iterator[Component]:
    """Of the plugins of the bundle that this code runs out of, else of all that are installed."""
    offers = offers_here()
    for one in _installed(noun) if offers is None else offers:
        if one.noun == noun and _NAME.fullmatch(one.name) and one.origin != OWN:
            yield Component(noun, one.name, one.origin, one.reference)


def _installed(noun: str) -> Iterator[Offer]:
    for point in entry_points(group=f"{GROUP}{noun}"):
        if point.dist is not None:
            yield offer_of(point, point.dist.name)
