"""The rows of the table in their file: one a model, market and split."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fedrec.errors import UserError
from fedrec.files import write_atomic
from fedrec.report.table3 import METRICS, Row

COLUMNS = ("stamp", "version", "model", "market", "split", *METRICS, "users", "validation", "epochs", "run_seconds")


def read_rows(path: Path) -> list[Row]:
    """All rows; none where the file does not exist yet. Raises :class:`UserError` for a file that is none of ours."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            if list(row) != list(COLUMNS) or None in row.values():
                raise ValueError
            int(row["split"])
            [float(row[metric] or 0) for metric in METRICS]
    except (ValueError, csv.Error):
        raise UserError(f"{path}: not rows of this table, or damaged; mend it, or choose another --out") from None
    return rows


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the file is written whole, so that an interrupted bench leaves all of a run or nothing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read_rows(path), *rows])
    write_atomic(path, buffer.getvalue().encode())
