"""Whether a process is up and has heard from its counterpart lately: by the age of a file that it touches.

Processes name the file by ``FEDREC_ALIVE``; a container engine looks at its age with ``find``, which costs nothing,
where a Python process for every look costs a sixth of a core.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "FEDREC_ALIVE"
STALE_SECONDS = 45  # silence after which a process counts as cut off
_MIN_SECONDS = 1.0  # between two touches


class Alive:
    """The file of this process; none where the environment names none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._signed = -_MIN_SECONDS

    @classmethod
    def of_environment(cls) -> "Alive":
        """The file that ``FEDREC_ALIVE`` names."""
        named = os.environ.get(VARIABLE)
        return cls(Path(named) if named else None)

    def sign(self) -> None:
        """Say that the counterpart has just answered."""
        now = time.monotonic()
        if self._path is not None and now - self._signed >= _MIN_SECONDS:
            self._signed = now
            with suppress(OSError):  # a full /tmp makes a process look dead, and must not end it
                self._path.touch()
