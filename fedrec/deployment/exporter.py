"""Serves an executor's numbers to Prometheus: ``python -m fedrec.deployment.exporter FILE PORT``, at ``/metrics``.

In a container of its own, which has the file alone: what may be reached from outside has neither data nor keys. The
file lies where a bundle's code could write, so only series of the closed list are served, with labels of closed lists,
and numbers in few digits.
"""

import os
import re
import signal
import stat
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedrec.deployment.alive import Alive
from fedrec.deployment.logs import log_to_console
from fedrec.deployment.series import series

LARGEST = 256 * 1024  # bytes
OLD_SECONDS = 60.0  # a file that nobody has written for so long says nothing of now
_LINE = re.compile(r"(\w{1,60})(?:\{([^{}]{0,300})\})? (-?[\d.]{1,30}(?:e[+-]?\d{1,3})?)")
_LABEL = re.compile(r'(\w{1,20})="([^"\\]{1,64})"')
_TYPE = re.compile(r"# TYPE (\w{1,60}) (counter|gauge)")
_SERIES = {name: {label: re.compile(values) for label, values in labels.items()} for name, labels in series().items()}
TYPE = "text/plain; version=0.0.4; charset=utf-8"


def served(text: str) -> str:
    """The lines of the file that are types and numbers of ours, each series once."""
    found = dict.fromkeys(line for line in map(_served, text.splitlines()) if line)
    return "".join(line + "\n" for line in found)


def _served(line: str) -> str:
    """A line as it may be told, or nothing."""
    if kind := _TYPE.fullmatch(line):
        name = kind[1] + ("_total" if kind[2] == "counter" and not kind[1].endswith("_total") else "")
        return line if name in _SERIES else ""
    if not (sample := _LINE.fullmatch(line)):
        return ""
    name, labels = sample[1], dict(_LABEL.findall(sample[2] or ""))
    wanted = _SERIES.get(name)
    if wanted is None or labels.keys() != wanted.keys():
        return ""
    if not all(wanted[label].fullmatch(value) for label, value in labels.items()):
        return ""
    try:
        number = f"{float(sample[3]):.9g}"
    except ValueError:
        return ""
    written = ",".join(f'{label}="{labels[label]}"' for label in wanted)
    return f"{name}{{{written}}} {number}" if written else f"{name} {number}"


def read(file: Path) -> str | None:
    """What is served of a file; None where it is none, or old, or not there yet."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or time.time() - about.st_mtime > OLD_SECONDS:
            return None
        return served(stream.read(LARGEST).decode(errors="replace"))


def server(file: Path, port: int, host: str = "0.0.0.0") -> ThreadingHTTPServer:  # noqa: S104  a container's own
    """Answers ``GET /metrics`` with the file as it is then."""
    alive = Alive.of_environment()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """One answer."""
            if self.path != "/metrics":
                self.send_error(404)
                return
            text = read(file)
            if text is None:
                self.send_error(503, "not written yet, or not any more")
                return
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are no news."""

    class Server(ThreadingHTTPServer):
        def service_actions(self) -> None:
            """Called twice a second, whether somebody asks or not."""
            alive.sign()

    return Server((host, port), Handler)


if __name__ == "__main__":
    log_to_console("metrics")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
