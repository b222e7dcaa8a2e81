"""Numbers of a running deployment in Prometheus's text form, for whoever watches it.

``FEDREC_METRICS`` names a file, which the executor writes anew every few seconds; without it nothing is written. A file
and no port, because a market's executor reaches its node alone and nobody reaches it: :mod:`fedrec.deployment.exporter`
serves the file from another container. Labels are names of markets, actions and outcomes from closed lists.
"""

import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

from fedrec.deployment.certificates import days_left, read_certificate
from fedrec.deployment.series import ACTIONS, reason_class
from fedrec.files import JsonLines, read_json

VARIABLE = "FEDREC_METRICS"
WRITE_SECONDS = 5.0
_log = getLogger("fedrec.metrics")
_CERTIFICATE_SECONDS = 60.0  # between two looks at certificates


def write_regularly(
    metrics: "MarketMetrics | CoordinatorMetrics", path: Path, pause_seconds: float = WRITE_SECONDS
) -> None:
    """Write the file until the process ends, in a thread of its own."""

    def write() -> None:
        pause = threading.Event()
        while True:
            try:
                metrics.update()
                write_to_textfile(str(path), metrics.registry)
            except Exception as error:  # a file that is half written, a full disk: the next time may do better
                _log.warning("numbers were not written: %s", type(error).__name__)
            pause.wait(pause_seconds)

    threading.Thread(target=write, name="metrics", daemon=True).start()


def wanted() -> Path | None:
    """The file that ``FEDREC_METRICS`` names; None where nobody watches."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


@dataclass
class Answer:
    """What became of a question."""

    outcome: str = "lost"
    bytes: int = 0


class Certificates:
    """Whole days until certificates expire: the authority's, and that of the server beside an executor."""

    def __init__(self, registry: CollectorRegistry, authority: Path, server: str) -> None:
        self._authority = authority
        self._server = server  # HOST:PORT
        self._looked = -_CERTIFICATE_SECONDS
        name, about = "fedrec_certificate_days", "whole days until a certificate expires"
        self._days = Gauge(name, about, ["certificate"], registry=registry)

    def update(self) -> None:
        """Look once a minute, and at each call until the server answers; one that is away keeps its last figure."""
        if time.monotonic() - self._looked < _CERTIFICATE_SECONDS:
            return
        self._days.labels("authority").set(days_left(read_certificate(self._authority)))
        host, _, port = self._server.rpartition(":")
        with suppress(OSError, ValueError):
            found = ssl.get_server_certificate((host, int(port)), ca_certs=str(self._authority), timeout=5.0)
            self._days.labels("server").set(days_left(x509.load_pem_x509_certificate(found.encode())))
            self._looked = time.monotonic()


class MarketMetrics:
    """Of a market's executor. ``state``: the folder of the market's runs, where it is known."""

    def __init__(self, state: Path | None, authority: Path, node: str) -> None:
        self._state = state
        self.registry = registry = CollectorRegistry()
        self._certificates = Certificates(registry, authority, node)
        self._answers = Counter(
            "fedrec_answers", "questions answered, by action and outcome", ["action", "outcome"], registry=registry
        )
        self._seconds = Counter("fedrec_answer_seconds", "seconds spent on answers", ["action"], registry=registry)
        self._bytes = Counter("fedrec_answer_bytes", "bytes of replies", registry=registry)
        self._epsilon = Gauge("fedrec_epsilon_spent", "of the latest run under privacy", registry=registry)

    @contextmanager
    def answering(self, action: str) -> Iterator[Answer]:
        """Count one answer."""
        known = action if ACTIONS.fullmatch(action) else "other"
        began, answer = time.monotonic(), Answer()
        try:
            yield answer
        finally:
            self._answers.labels(known, answer.outcome).inc()
            self._seconds.labels(known).inc(time.monotonic() - began)
            self._bytes.inc(answer.bytes)

    def update(self) -> None:
        """Read the budget of the run that charged last."""
        self._certificates.update()
        budgets = self._state.glob("*/markets/*/privacy.json") if self._state is not None else ()
        found = sorted(budgets, key=lambda path: path.stat().st_mtime)
        if found:
            spent = read_json(found[-1]).get("epsilon")
            self._epsilon.set(float(spent) if isinstance(spent, float) else 0.0)


class CoordinatorMetrics:
    """Of the coordinator's executor: nodes, and the rounds of the run that is under way or was last."""

    def __init__(self, runs: Path, authority: Path, superlink: str) -> None:
        self._runs = runs
        self._lines: dict[Path, JsonLines] = {}
        self.registry = registry = CollectorRegistry()
        self._round = Gauge("fedrec_round", "round that ended last", registry=registry)
        self._planned = Gauge("fedrec_rounds_planned", "rounds of the stage, at most", registry=registry)
        self._last = Gauge("fedrec_round_seconds", "seconds of the last round, by part", ["part"], registry=registry)
        self._rounds = Counter("fedrec_rounds", "rounds that ended", registry=registry)
        self._replies = Counter(
            "fedrec_replies", "replies of rounds, by market and outcome", ["market", "outcome"], registry=registry
        )
        self._bytes = Counter("fedrec_round_bytes", "bytes of rounds", ["direction"], registry=registry)
        self._nodes = Gauge("fedrec_nodes", "markets let in, by status", ["status"], registry=registry)
        self._certificates = Certificates(registry, authority, superlink)
        self._ended = Counter("fedrec_runs_ended", "runs that ended, by outcome", ["outcome"], registry=registry)

    def nodes(self, online: int, offline: int) -> None:
        """How many markets' nodes are there, and how many are not."""
        self._nodes.labels("online").set(online)
        self._nodes.labels("offline").set(offline)

    def update(self) -> None:
        """Read what was written to the runs' events since the last call."""
        self._certificates.update()
        for events in sorted(self._runs.glob("*/events.jsonl")):
            known = events in self._lines
            lines = self._lines.setdefault(events, JsonLines(events))
            found = lines.read()
            if known or time.time() - events.stat().st_mtime < WRITE_SECONDS * 2:  # not those of long ago, at a start
                for event in found:
                    with suppress(KeyError, TypeError, ValueError):  # an event in another form counts nothing
                        self._count(event)

    def _count(self, event: dict[str, Any]) -> None:
        if event.get("event") == "ended":
            self._ended.labels("completed" if event.get("completed") else "failed").inc()
        if event.get("event") != "round":
            return
        self._rounds.inc()
        self._round.set(event["round"])
        self._planned.set(event["total"])
        self._last.labels("all").set(event["seconds"])
        self._last.labels("training").set(event["train_seconds"])
        for direction in ("up", "down"):
            self._bytes.labels(direction).inc(event[f"bytes_{direction}"])
        for market in event["accepted"]:
            self._replies.labels(market, "accepted").inc()
        for one in event["rejected"]:
            self._replies.labels(one["market"], reason_class(one["reason"])).inc()
