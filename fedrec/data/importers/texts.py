"""Source files as text: what they are if not UTF-8 with lines, said with the place, and never with a row of them."""

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fedrec.errors import DataError, UserError
from fedrec.words import cleaned

_STARTS = {
    b"PK\x03\x04": "a .zip archive or an .xlsx workbook; unpack it, or save the sheet as CSV",
    b"\xff\xfe": "UTF-16; convert it to UTF-8",
    b"\xfe\xff": "UTF-16; convert it to UTF-8",
    b"PAR1": "a parquet file; import it with kind parquet",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it",
    b"(\xb5/\xfd": "compressed with zstd; unpack it",
}
_VALUE = re.compile(r"[-+]?\d[\d.,:TZ+/ -]*")  # a number, a date or a time: no name of a column


def require_file(source: Path) -> None:
    """Raise :class:`UserError` where there is no file."""
    if not source.is_file():
        raise UserError(f"{source}: no such file")


def read_text(source: Path) -> str:
    """The text of a UTF-8 file, gzip or not, without a byte order mark, its lines ended by LF.

    Raises :class:`UserError` or :class:`DataError` naming file, line and cause for anything else.
    """
    require_file(source)
    data = source.read_bytes()
    if data.startswith(b"\x1f\x8b") or source.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UserError(f"{source}: truncated or damaged gzip; fetch it again") from None
    for start, what in _STARTS.items():
        if data.startswith(start):
            raise UserError(f"{source}: is {what}")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(f"{source}: line {line}: NUL byte; the file is damaged, or no text: fetch it again")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{source}: line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
    if not text.strip():
        raise UserError(f"{source}: empty file; supply its rows")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def csv_header(source: Path, text: str, separator: str) -> list[str]:
    """The names of the columns; raises :class:`UserError` where a name comes twice."""
    try:
        header = next(csv.reader(text.split("\n"), delimiter=separator))
    except (csv.Error, StopIteration):
        raise UserError(f"{source}: line 1: not readable as a header; check separator and quotes") from None
    names = [name.strip() for name in header]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        times = names.count(twice[0])
        raise UserError(f"{source}: line 1: column {twice[0][:40]!r} stands there {times} times; rename all but one")
    return header


def names_of(source: Path, columns: list[str]) -> str:
    """The columns in words; where they are values of a first row, that and none of them."""
    if any(_VALUE.fullmatch(name.strip()) for name in columns):
        return f"line 1 of {source} holds values, not names of columns; put a header above the rows"
    return f"{source} has {cleaned(', '.join(columns), 300)}"


def csv_records(text: str, separator: str, columns: int) -> list[list[str | None]]:
    """The records below the header, of so many values each; what is missing or empty is None."""
    reader = csv.reader(_lines(text.rstrip("\n")), delimiter=separator)
    next(reader)
    records = (record + [""] * (columns - len(record)) for record in reader)
    return [[value or None for value in record] for record in records]


def csv_trouble(source: Path, text: str, separator: str, columns: int) -> DataError | None:
    """What is wrong with the first record that cannot be read, and on which line; None where nothing is."""
    reader = csv.reader(_lines(text), delimiter=separator, strict=True)
    began = 1
    try:
        for record in reader:
            if len(record) > columns:
                return DataError(
                    f"{source}: line {began}: {len(record)} fields where the header has {columns}; "
                    "put values that hold the separator in quotes"
                )
            began = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            return DataError(f"{source}: line {began}: a quote is opened and never closed; close it, or double it")
        return DataError(f"{source}: line {began}: not readable as CSV ({error}); check quotes and separator")
    return None


def _lines(text: str) -> Iterator[str]:
    """With their ends, as csv wants them; other characters that Python takes for line ends stay within a line."""
    return (f"{line}\n" for line in text.split("\n"))
