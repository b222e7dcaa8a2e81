"""Importers that write their stores themselves, because their sources say more than a table of interactions does."""

from abc import abstractmethod
from pathlib import Path

from fedrec.components.importer import Importer
from fedrec.data.importers.options import ImportOptions
from fedrec.data.importers.report import ImportReport


class WholeImporter(Importer):
    """From source to stores."""

    @abstractmethod
    def write(self, source: Path, directory: Path, options: ImportOptions) -> ImportReport:
        """Write one store a market into the new ``directory``; nothing is left behind where that fails."""
