"""Importers: each reads one published format, validates it once, and writes market stores."""

from collections.abc import Callable
from pathlib import Path

from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.xmarket import import_xmarket
from fedrec.errors import UserError

IMPORTERS: dict[str, Callable[[Path, Path], ImportReport]] = {"xmarket-5core": import_xmarket}


def run_import(kind: str, source: Path, directory: Path) -> ImportReport:
    """Import ``source`` of the given kind into the new data folder ``directory``."""
    if kind not in IMPORTERS:
        raise UserError(f"import kind {kind!r} is unknown; known: {', '.join(sorted(IMPORTERS))}")
    return IMPORTERS[kind](source, directory)
