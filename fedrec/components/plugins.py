"""Distributions that bring components: which version, which files, what they offer.

Where code runs out of a bundle, a listing beside the packages says what the bundle's plugins offer, and nothing that is
installed on that host is looked at: what runs there is what its operator approved.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path

from fedrec.errors import UserError

LISTING = "fedrec_plugins.json"
GROUP = "fedrec."
OWN, NOTEBOOK = "fedrec", "this process"
_SUFFIXES = (".py", ".yaml")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Offer:
    """One entry point: ``noun`` and ``name`` of a component, where it is, and the distribution that brings it."""

    noun: str
    name: str
    reference: str  # module:attribute
    origin: str


@dataclass(frozen=True)
class Plugin:
    """An installed distribution that brings components."""

    name: str
    version: str
    offers: tuple[Offer, ...]
    files: tuple[tuple[str, bytes], ...]  # of its packages, by path below the folder they are imported from

    @property
    def hash(self) -> str:
        """SHA-256 over names and contents of its files, in hexadecimal."""
        digest = hashlib.sha256()
        for name, data in self.files:
            digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        return digest.hexdigest()


def offers_here() -> list[Offer] | None:
    """What the plugins of the bundle offer that this code runs out of; None where it runs out of none."""
    path = _ROOT / LISTING
    if not path.is_file():
        return None
    return [Offer(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


def listing(plugins: Iterable[Plugin]) -> bytes:
    """What a bundle says of its plugins."""
    offers = sorted((one for plugin in plugins for one in plugin.offers), key=lambda one: (one.noun, one.name))
    return json.dumps([vars(one) for one in offers], indent=1).encode()


@cache
def read_plugin(name: str) -> Plugin:
    """An installed distribution. Raises :class:`UserError` for one that is not there, or whose files are not."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise UserError(f"package {name!r}: not installed; install it where this command runs") from None
    points = [point for point in found.entry_points if point.group.startswith(GROUP)]
    offers = tuple(offer_of(point, name) for point in points)
    files: dict[str, bytes] = {}
    for module in sorted({point.module.partition(".")[0] for point in points}):
        files |= files_of(module)
    return Plugin(name, found.version, offers, tuple(sorted(files.items())))


def offer_of(point: EntryPoint, origin: str) -> Offer:
    """An entry point of a distribution."""
    return Offer(point.group.removeprefix(GROUP), point.name, point.value, origin)


def files_of(module: str) -> dict[str, bytes]:
    """Code and recipes of a top-level module, by path. Raises :class:`UserError` where it has no file."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"package {module!r}: has no file that could travel; give it an __init__.py")
    path = Path(spec.origin)
    if path.name != "__init__.py":
        return {path.name: path.read_bytes()}
    return {f"{module}/{name}": data for name, data in _below(path.parent).items()}


def _below(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            found |= {f"{entry.name}/{name}": data for name, data in _below(entry).items()}
        elif entry.name.endswith(_SUFFIXES):
            found[entry.name] = entry.read_bytes()
    return found
