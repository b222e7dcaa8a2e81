"""What processes of a deployment say: one level for all of them, as lines or as JSON.

``FEDREC_LOG_LEVEL``: DEBUG, INFO (as made), WARNING or ERROR. Flower's own lines are a level behind: they are details
where ours tell what happens. ``FEDREC_LOG_FORMAT``: ``text`` (as made) or ``json``, an object a line with ``time``,
``level``, ``process`` and ``message``.
"""

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from fedrec.errors import UserError

LEVEL, FORMAT = "FEDREC_LOG_LEVEL", "FEDREC_LOG_FORMAT"
_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_FORMATS = ("text", "json")
_FLOWER = "flwr"
_KEY = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_AGAIN_SECONDS = 60.0
_REMEMBERED = 1000  # lines
HANDLERS_STAY: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}  # for servers that bring their own


class _Lines(logging.Formatter):
    """Time in UTC, level, process, message; without colours."""

    def __init__(self, process: str, kind: str) -> None:
        super().__init__()
        self._process = process
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().strip()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        message = _KEY.sub(_shortly, message)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self._kind == "json":
            found = {"time": at, "level": record.levelname, "process": self._process, "message": message}
            return json.dumps(found, ensure_ascii=False)
        return f"{at} {record.levelname:7} {self._process}: {message}"


class _NotAgain(logging.Filter):
    """Leaves out empty lines, and what was said less than a minute ago: nodes and executors ask without end."""

    def __init__(self) -> None:
        super().__init__()
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        message, now = record.getMessage().strip(), time.monotonic()
        said = (message, str(record.exc_info[1]) if record.exc_info else "")
        again = now - self._said.get(said, -_AGAIN_SECONDS) < _AGAIN_SECONDS
        if not again:
            self._said[said] = now
            self._said.move_to_end(said)
            if len(self._said) > _REMEMBERED:
                self._said.popitem(last=False)
        return bool(message) and not again


def _shortly(key: re.Match[str]) -> str:
    """A public key by the beginning of its SHA-256."""
    body = re.sub(r"\\n|\s|-----[A-Z ]+-----", "", key[0])
    return f"key {hashlib.sha256(body.encode()).hexdigest()[:12]}"


def log_to_console(process: str) -> None:
    """Send this process's lines and Flower's to standard error. Raises :class:`UserError` for words that are none."""
    level = os.environ.get(LEVEL) or "INFO"
    kind = os.environ.get(FORMAT) or "text"
    if level.upper() not in _LEVELS:
        raise UserError(f"{LEVEL}={level}: unknown; one of {', '.join(_LEVELS)}")
    if kind not in _FORMATS:
        raise UserError(f"{FORMAT}={kind}: unknown; one of {', '.join(_FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(process, kind))
    handler.addFilter(_NotAgain())
    ours = _LEVELS[level.upper()]
    for name, least in (("fedrec", ours), (_FLOWER, min(ours + 10, logging.ERROR)), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(least)
