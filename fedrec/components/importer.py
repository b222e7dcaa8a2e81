"""The noun ``importer``: a data set's files in, one row an interaction out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import polars

COMMON = frozenset({"--time-format", "--timezone", "--merge", "--min-users", "--items", "--market"})


class Importer:
    """Base of importers; ``fedrec data import NAME SOURCE DIR`` builds it without arguments.

    It only reads. What it returns is validated and written as market stores like every other table.
    """

    options: ClassVar[frozenset[str]] = COMMON
    """Flags of the command that it takes."""

    def frame(self, source: Path, options: Any) -> "polars.DataFrame":
        """One row an interaction, in the source's order.

        Columns: ``user``, ``item`` and ``time``; where the source has them ``value``, ``title``, ``brand``,
        ``category`` and ``market`` (else ``--market`` names the one market). Times are ISO 8601, seconds or
        milliseconds since 1970, or whatever ``--time-format`` says. ``options``: what the person typed, by attribute.
        Raises :class:`fedrec.errors.UserError` that names file, line, value and remedy for what cannot be read.
        """
        raise NotImplementedError
