"""Rows of measured results: ``benchmarks/results/NAME.csv``, one row a measurement, with the commit it was made at."""

import csv
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def append_row(name: str, figures: dict[str, Any]) -> None:
    """Append one row; the first row writes the header."""
    path = FOLDER / f"{name}.csv"
    FOLDER.mkdir(exist_ok=True)
    row = {"commit": commit(), **figures}
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


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
