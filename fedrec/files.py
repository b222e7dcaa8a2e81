"""Files: written whole or not at all, and never outside the folder they belong to."""

import fcntl
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedrec.errors import FedrecError, UserError
from fedrec.words import cleaned

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LINE = json.JSONEncoder(allow_nan=False)  # json.dumps makes one anew for every value


def market_name(text: str, origin: str) -> str:
    """Return ``text`` if it can safely name a market and therefore a folder.

    ``origin`` says where the name comes from, for the error.

    >>> market_name("jp", "the recipe")
    'jp'
    >>> market_name("../jp", "the recipe")
    Traceback (most recent call last):
    ...
    fedrec.errors.UserError: the recipe: market name '../jp' is refused; use lower-case letters, digits, - and _
    """
    if not _NAME.fullmatch(text):
        raise UserError(
            f"{origin}: market name {cleaned(text, 80)!r} is refused; use lower-case letters, digits, - and _"
        )
    return text


def run_name(text: str) -> str:
    """Return ``text`` if it can safely name a run and therefore a folder at every market."""
    if not _RUN.fullmatch(text):
        raise UserError(f"run name {cleaned(text, 80)!r} is refused; name the folder with letters, digits, . _ and -")
    return text


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system in this block name ``path``: a full disk does not say which file it had no room for."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` beside ``path``, flush it to disk, then rename: a reader sees the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, readable by a person. NaN and infinities are refused."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that this software wrote; raises :class:`UserError` for what is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        why = cleaned(str(error), 100)
        raise UserError(f"{path}: not readable as JSON ({why}); is the run folder damaged?") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not an object; is the run folder damaged?")
    return value


def _no_number(text: str) -> Any:
    """Python reads NaN and infinities, which are no JSON and which we never write."""
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def append_json_line(path: Path, value: Mapping[str, Any], mode: int = 0o644, durable: bool = False) -> None:
    """Append one JSON object as one line; see :func:`append_json_lines`."""
    append_json_lines(path, [value], mode, durable)


def append_json_lines(
    path: Path, values: Iterable[Mapping[str, Any]], mode: int = 0o644, durable: bool = False
) -> None:
    """Append JSON objects, a line each, in one call. A line that was torn before is ended first.

    ``mode``: of a new file. ``durable``: on disk before this returns.
    """
    with naming(path), os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode), "ab+") as stream:
        start = b""
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            start = b"" if stream.read(1) == b"\n" else b"\n"
        stream.write(start + b"".join(_LINE.encode(value).encode() + b"\n" for value in values))
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Every object of a JSON-lines file; a missing file is an empty list.

    A line that is still being written is left out, and so is one that was torn when its writer was killed.
    """
    return JsonLines(path).read()


class JsonLines:
    """Reads a JSON-lines file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0  # whole lines that were no object
        self._position = 0  # bytes read, all of whole lines

    def read(self) -> list[dict[str, Any]]:
        """The objects written since the last call; see :func:`read_json_lines`."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            stream.seek(self._position)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._position += len(whole + newline)
        found = []
        for line in whole.decode(errors="replace").splitlines():
            value: object = None
            with suppress(ValueError, RecursionError):
                value = json.loads(line, parse_constant=_no_number, parse_float=_finite)
            if isinstance(value, dict):
                found.append(value)
            else:
                self.unreadable += 1
        return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a file of a run lacks, or has in another form, ends in a :class:`UserError` that names the file."""
    try:
        yield
    except FedrecError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = cleaned(f"{type(error).__name__}: {error}", 100)
        raise UserError(f"{path}: not as this software wrote it ({why}); restore it, or run again") from None


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``: of all processes that ask for it, one at a time enters the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def refuse_occupied(directory: Path) -> None:
    """Raise unless ``directory`` is absent or an empty folder."""
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise UserError(f"{directory}: exists and is not an empty folder; choose another or remove it")


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``directory`` when the block ends well and vanishes when it does not."""
    refuse_occupied(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        with naming(directory):
            yield scratch
        if directory.exists() and directory.samefile(Path.cwd()):  # somebody stands there: it is filled, not replaced
            for entry in scratch.iterdir():
                entry.replace(directory / entry.name)
            scratch.rmdir()
        else:
            if directory.exists():
                directory.rmdir()
            scratch.chmod(0o755)
            scratch.replace(directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
