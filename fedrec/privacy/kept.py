"""Noise that was solved for once, kept between runs in the user's cache folder.

A search composes an accountant several times; what was found before is composed once, to see that it still holds. So
nothing there has to be trusted, and nothing is lost with it.
"""

import hashlib
import importlib.metadata
import os
from contextlib import suppress
from pathlib import Path

from fedrec.errors import UserError
from fedrec.files import read_json, write_json
from fedrec.version import VERSION


def recall(solved: str) -> float | None:
    """The noise multiplier that was found for this, a text of all that it depends on; None where there is none."""
    path = _path(solved)
    if path is None or not path.is_file():
        return None
    with suppress(UserError, OSError):
        found = read_json(path).get("noise_multiplier")
        if isinstance(found, float) and 0 < found < float("inf"):
            return found
    return None


def remember(solved: str, noise: float) -> None:
    """Keep what was found; without a folder that can be written to, it is solved for again next time."""
    path = _path(solved)
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"noise_multiplier": noise})


def _path(solved: str) -> Path | None:
    """Below ``$XDG_CACHE_HOME`` or ``~/.cache``; None where there is no home."""
    with suppress(RuntimeError):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        versions = f"{VERSION} {importlib.metadata.version('dp-accounting')} "
        return base / "fedrec" / "noise" / f"{hashlib.sha256((versions + solved).encode()).hexdigest()}.json"
    return None
