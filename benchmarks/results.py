"""Rows of measured results: ``benchmarks/results/NAME.csv``, one row a measurement, with the commit it was made at.

Every script of this folder skips what has its rows already. Where definitions change (what is held out, a metric, a
default), the old rows would be taken for done; ``python benchmarks/measure.py --renew TABLE`` sets them aside first.
Runs that outlive an interruption lie below ``benchmarks/work``, which git ignores, until their rows are written.
"""

import csv
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fedrec.files import write_atomic

FOLDER = Path(__file__).parent / "results"
WORK = Path(__file__).parent / "work"
UNFINISHED = Path(__file__).parent / "unfinished"
Row = dict[str, str]
csv.field_size_limit(sys.maxsize)  # values per user are one field


def append_rows(name: str, rows: Iterable[dict[str, Any]], key: Sequence[str] = ()) -> None:
    """Add rows in one write, so that an interrupted measurement leaves all of them or none.

    ``key``: columns that name a measurement. Earlier rows with the same values there are replaced, which makes it safe
    to repeat a measurement whose rows were written in part.
    """
    stamped = [{"commit": commit(), **{column: str(value) for column, value in row.items()}} for row in rows]
    if not stamped:
        return
    new = {tuple(row[column] for column in key) for row in stamped}
    kept = [row for row in read_rows(name) if not key or tuple(row[column] for column in key) not in new]
    write_rows(name, [*kept, *stamped])


def write_rows(name: str, rows: Sequence[Row]) -> None:
    """Write a file of rows anew."""
    buffer = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(buffer, fieldnames=list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path_of(name), buffer.getvalue().encode())


def read_rows(name: str) -> list[Row]:
    """All rows of a file; none where it does not exist yet."""
    path = path_of(name)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def measured(name: str, *columns: str) -> set[tuple[str, ...]]:
    """The values of these columns that have rows."""
    return {tuple(row[column] for column in columns) for row in read_rows(name)}


def say_complete(name: str) -> None:
    """Print that a script found nothing to do."""
    print(f"{name}: every row is there, nothing to measure", flush=True)


def set_aside(names: Iterable[str]) -> list[Path]:
    """Move files of rows to a dated folder below ``work``, drop their unfinished runs; returns where they are now.

    Where the new measurement has begun already, its rows lie in ``unfinished`` and take their place: a long table is
    finished in another session. Whoever finishes it removes them.
    """
    target, moved = WORK / "renewed" / time.strftime("%Y%m%d-%H%M%S"), []
    for name in names:
        path = path_of(name)
        shutil.rmtree(WORK / name, ignore_errors=True)
        if path.exists():
            aside = target / path.relative_to(FOLDER)
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside)
            moved.append(aside)
        begun = UNFINISHED / f"{name}.csv"
        if begun.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(begun, path)
    return moved


def path_of(name: str) -> Path:
    """The file that rows of this name are kept in."""
    return FOLDER / f"{name}.csv"


def commit() -> str:
    """The commit the code stands at, shortened."""
    result = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()
