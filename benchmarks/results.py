"""Rows of measured results: ``benchmarks/results/NAME.csv``, one row a measurement, with the commit it was made at."""

import csv
import io
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def append_row(name: str, figures: dict[str, Any]) -> None:
    """Append one row; the first row writes the header."""
    append_rows(name, [figures])


def append_rows(name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows of like columns in one write, so that an interrupted measurement leaves all of them or none."""
    stamped = [{"commit": commit(), **row} for row in rows]
    if not stamped:
        return
    path = FOLDER / f"{name}.csv"
    FOLDER.mkdir(exist_ok=True)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(stamped[0]), lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerows(stamped)
    with path.open("a", newline="", encoding="utf-8") as stream:
        stream.write(buffer.getvalue())


def read_rows(name: str) -> list[dict[str, str]]:
    """All rows of a table; none where it does not exist yet."""
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def commit() -> str:
    """The commit the code stands at, shortened."""
    result = subprocess.run(
        ["git", "-C", str(FOLDER.parent), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()
