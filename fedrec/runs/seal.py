"""The seal of a finished market: which files its evaluation used and left, so that nothing is used in their place."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from fedrec.errors import UserError
from fedrec.files import read_json, write_json

SEAL = "seal.json"
_REMEDY = "restore it, or run again"


def write_seal(folder: Path, files: Iterable[Path]) -> None:
    """Write down the SHA-256 of those of ``files`` that are there; all lie in ``folder``."""
    write_json(folder / SEAL, _hashes(files))


def check_seal(folder: Path, files: Iterable[Path]) -> None:
    """Raise :class:`UserError` naming the first of ``files`` that is missing, was changed, or came later.

    It finds damage and mistakes. Who can write the folder can write a new seal.
    """
    sealed, found = _sealed(folder), _hashes(files)
    for name in sorted({*sealed, *found}):
        if name not in found:
            raise UserError(f"{folder / name}: missing; {_REMEDY}")
        if sealed.get(name) != found[name]:
            raise UserError(f"{folder / name}: not what the run left; {_REMEDY}")


def check_sealed(path: Path) -> None:
    """As :func:`check_seal`, of one file that is there."""
    if _sealed(path.parent).get(path.name) != _hashes([path])[path.name]:
        raise UserError(f"{path}: not what the run left; {_REMEDY}")


def _sealed(folder: Path) -> dict[str, object]:
    if not (folder / SEAL).is_file():
        raise UserError(f"{folder / SEAL}: missing; {_REMEDY}")
    return read_json(folder / SEAL)


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}
