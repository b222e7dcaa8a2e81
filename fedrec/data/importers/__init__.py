"""Importers: each reads one format, validates it once, and writes market stores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.importers.online_retail import import_online_retail
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.tabular import import_csv, import_parquet
from fedrec.data.importers.xmarket import import_xmarket
from fedrec.errors import UserError


@dataclass(frozen=True)
class Importer:
    """How one kind of source is read, and which options it takes."""

    read: Callable[[Path, Path, ImportOptions], ImportReport]
    options: frozenset[str] = frozenset()


_EVERY_TABLE = frozenset({"--time-format", "--timezone", "--merge", "--least-users"})
_TABLE = _EVERY_TABLE | {"--map", "--market", "--items"}
IMPORTERS = {
    "csv": Importer(import_csv, _TABLE | {"--separator"}),
    "parquet": Importer(import_parquet, _TABLE),
    "online-retail": Importer(import_online_retail, _EVERY_TABLE),
    "xmarket-5core": Importer(import_xmarket),
}


def run_import(kind: str, source: Path, directory: Path, options: ImportOptions | None = None) -> ImportReport:
    """Import ``source`` of the given kind into the new data folder ``directory``."""
    if kind not in IMPORTERS:
        raise UserError(f"import kind {kind!r} is unknown; known: {', '.join(sorted(IMPORTERS))}")
    options = options or ImportOptions()
    surplus = sorted(options.given - IMPORTERS[kind].options)
    if surplus:
        takes = ", ".join(sorted(IMPORTERS[kind].options)) or "none"
        raise UserError(f"{surplus[0]}: not an option of import kind {kind!r} (its options: {takes})")
    return IMPORTERS[kind].read(source, directory, options)
