"""Importers: each reads one format, validates it once, and writes market stores."""

from collections.abc import Iterable
from pathlib import Path

from fedrec.components.importer import Importer
from fedrec.components.registry import components, nearest
from fedrec.data.importers.options import REQUIRED, ROLES, ImportOptions
from fedrec.data.importers.report import ImportReport
from fedrec.data.importers.tabular import Frame, import_table
from fedrec.data.importers.whole import WholeImporter
from fedrec.errors import UserError


def run_import(kind: str, source: Path, directory: Path, options: ImportOptions | None = None) -> ImportReport:
    """Import ``source`` of the given kind into the new data folder ``directory``."""
    known = components("importer")
    if kind not in known:
        raise UserError(f"import kind {kind!r} is unknown{nearest(kind, list(known))}")
    importer: Importer = known[kind].load()()
    options = options or ImportOptions()
    surplus = sorted(options.given - importer.options)
    if surplus:
        takes = ", ".join(sorted(importer.options)) or "none"
        raise UserError(f"{surplus[0]}: not an option of import kind {kind!r} (its options: {takes})")
    if isinstance(importer, WholeImporter):
        return importer.write(source, directory, options)
    frame = importer.frame(source, options)
    _require_roles(kind, frame.columns)
    columns = {role: role for role in ROLES if role in frame.columns}
    table, has = Frame(source, frame), f"importer {kind!r} gives columns"
    return import_table(table, directory, options.with_columns(columns), has)


def _require_roles(kind: str, columns: Iterable[str]) -> None:
    found = set(columns)
    for role in REQUIRED:
        if role not in found:
            raise UserError(f"importer {kind!r}: its frame has no column {role!r}; it has {', '.join(sorted(found))}")
    unknown = sorted(found - set(ROLES))
    if unknown:
        raise UserError(f"importer {kind!r}: unknown column {unknown[0]!r}; known: {', '.join(ROLES)}")
