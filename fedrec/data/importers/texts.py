"""Source files as text: what they are if not UTF-8 with lines, said with the place, and never with a row of them."""

import codecs
import csv
import difflib
import gzip
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

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
BLOCK = 2**25  # bytes of a source that are read at a time
LONGEST_RECORD = 2**26  # characters within quotes; more are an unclosed quote
csv.field_size_limit(LONGEST_RECORD)
_EVIDENCE = 2  # names that were asked for and are there: one may be a value by chance
_VALUE = re.compile(r"[-+]?\d[\d.,:TZ+/ -]*")  # a number, a date or a time: no name of a column


def require_file(source: Path) -> None:
    """Raise :class:`UserError` where there is no file."""
    if not source.is_file():
        raise UserError(f"{source}: no such file")


def read_text(source: Path) -> str:
    """The text of a UTF-8 file, gzip or not, without a byte order mark, its lines ended by LF.

    Raises :class:`UserError` or :class:`DataError` naming file, line and cause for anything else.
    """
    return "".join(text_blocks(source))


def text_blocks(source: Path, size: int = BLOCK) -> Iterator[str]:
    """The same in pieces of about ``size`` bytes, each of whole lines. What is wrong is said when it is reached."""
    require_file(source)
    lines, blank = 0, True  # before this block; whether all was
    for data in _byte_blocks(source, size):
        if b"\0" in data:
            line = lines + _line_ends(data[: data.index(b"\0")]) + 1
            raise DataError(f"{source}: line {line}: NUL byte; the file is damaged, or no text: fetch it again")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = lines + _line_ends(data[: error.start]) + 1
            raise DataError(f"{source}: line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
        blank = blank and not text.strip()
        lines += _line_ends(data)
        yield text.replace("\r\n", "\n").replace("\r", "\n")
    if blank:
        raise UserError(f"{source}: empty file; supply its rows")


def _line_ends(data: bytes) -> int:
    """How many: LF, CR, or both together."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def _byte_blocks(source: Path, size: int) -> Iterator[bytes]:
    """The bytes of a file, gzip or not, without a byte order mark, in pieces that end with a line."""
    with source.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b" or source.suffix == ".gz"
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        rest, first = b"", True
        try:
            while data := stream.read(size):
                data = rest + data
                if first:
                    first = False
                    for start, what in _STARTS.items():
                        if data.startswith(start):
                            raise UserError(f"{source}: is {what}")
                    data = data.removeprefix(codecs.BOM_UTF8)
                end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
                rest = data[end:]
                if end:
                    yield data[:end]
                if len(rest) > LONGEST_RECORD:
                    raise UserError(f"{source}: a line of over {LONGEST_RECORD:,} bytes; is this text with line ends?")
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UserError(f"{source}: truncated or damaged gzip; fetch it again") from None
        if rest:
            yield rest


def csv_header(source: Path, text: str, separator: str) -> tuple[list[str], int]:
    """The names of the columns, and on how many lines they stand.

    Raises :class:`UserError` where a name comes twice.
    """
    reader = csv.reader(_lines(text), delimiter=separator)
    try:
        header = next(reader)
    except (csv.Error, StopIteration):
        header = []
    if not header:
        raise UserError(f"{source}: line 1: not readable as a header; check separator and quotes")
    names = [column_name(name) for name in header]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:  # without a header, what stands there is a row
        places = " and ".join(str(place) for place, name in enumerate(names, start=1) if name == twice[0])
        raise UserError(f"{source}: line 1: columns {places} have the same name; rename all but one")
    return header, reader.line_num


def csv_blocks(source: Path, texts: Iterable[str], separator: str) -> Iterator[tuple[str, int]]:
    """Pieces of a text again so that each ends with a record, and the number of the line each begins on."""
    rest, line = "", 1
    for text in texts:
        text = rest + text
        end = len(text) if '"' not in text else _end_of_records(text, separator)
        rest = text[end:]
        if end:
            yield text[:end], line
            line += text.count("\n", 0, end)
        if len(rest) > LONGEST_RECORD:
            raise DataError(f"{source}: line {line}: a quote is opened and never closed; close it, or double it")
    if rest:
        yield rest, line


def _end_of_records(text: str, separator: str) -> int:
    """Where the last record ends that is whole."""
    lines, ended, exhausted = text.split("\n"), 0, False

    def feed() -> Iterator[str]:
        nonlocal exhausted
        yield from (f"{line}\n" for line in lines[:-1])  # what comes after the last line end is none, and empty
        exhausted = True

    reader = csv.reader(feed(), delimiter=separator)
    try:
        for _ in reader:
            if exhausted:
                break
            ended = reader.line_num
    except csv.Error:  # the parser of the block says what is wrong
        return len(text)
    return sum(map(len, lines[:ended])) + ended


def column_name(text: str) -> str:
    """A column's name as it is compared: in Unicode's composed form, without blanks around it."""
    return unicodedata.normalize("NFC", text.strip())


def header_in_words(source: Path, names: list[str], wanted: Collection[str]) -> str:
    """What a file's first line has, when the columns ``wanted`` are not all there.

    Names are shown where two that were wanted are among them, and no values, so that they are names. Otherwise the line
    may be a row, of which nothing is shown but what is close to a wanted name.
    """
    pieces = [piece.strip() for name in names for piece in re.split(r"[,;\t|]", name)]
    if any(_VALUE.fullmatch(piece) for piece in pieces):
        return f"line 1 of {source} holds values, not names of columns; put a header above the rows"
    if len(set(wanted) & set(names)) >= _EVIDENCE:
        return f"{source} has {cleaned(', '.join(names), 300)}"
    close = sorted(
        {one for name in wanted for one in difflib.get_close_matches(name, names, n=2, cutoff=0.75)} - set(wanted)
    )
    if close:
        return f"line 1 of {source} has {cleaned(' and '.join(close), 120)}"
    if len(pieces) > len(names):
        return f"line 1 of {source} has other separators than expected; give --separator"
    return f"line 1 of {source} must hold the names of its {len(names)} columns"


def csv_records(text: str, separator: str, columns: int) -> list[list[str | None]]:
    """The records, of so many values each; what is missing or empty is None."""
    reader = csv.reader(_lines(text.rstrip("\n")), delimiter=separator)
    records = (record + [""] * (columns - len(record)) for record in reader)
    return [[value or None for value in record] for record in records]


def csv_trouble(source: Path, text: str, separator: str, columns: int, line: int) -> DataError | None:
    """What is wrong with the first record that cannot be read, and on which line; None where nothing is.

    ``line``: the number of the text's first one.
    """
    reader = csv.reader(_lines(text), delimiter=separator, strict=True)
    began = line
    try:
        for record in reader:
            if len(record) > columns:
                return DataError(
                    f"{source}: line {began}: {len(record)} fields where the header has {columns}; "
                    "put values that hold the separator in quotes"
                )
            began = line + reader.line_num
    except csv.Error as error:
        if "unexpected end" in str(error):
            return DataError(f"{source}: line {began}: a quote is opened and never closed; close it, or double it")
        return DataError(f"{source}: line {began}: not readable as CSV ({error}); check quotes and separator")
    return None


def _lines(text: str) -> Iterator[str]:
    """With their ends, as csv wants them; other characters that Python takes for line ends stay within a line."""
    return (f"{line}\n" for line in text.split("\n"))
