"""Letting nodes in by the folder of keys, whatever lies in it just now; and small parts of a host's processes."""

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedrec.deployment import admission
from fedrec.deployment.admission import Admission
from fedrec.deployment.alive import Alive
from fedrec.deployment.connection import Connection, Control, Node
from fedrec.deployment.create import create_deployment
from fedrec.deployment.demo import hand_over
from fedrec.deployment.layout import CoordinatorPart
from fedrec.deployment.logs import log_to_console
from fedrec.deployment.unfinished import cut_off
from fedrec.errors import UserError
from fedrec.files import append_json_line


class SuperLink:
    """Remembers who is registered, by key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: dict[int, str] = {}
        monkeypatch.setattr(Control, "nodes", self.nodes)
        monkeypatch.setattr(Control, "_ask", self.ask)
        self.control: Any = None

    def nodes(self) -> list[Node]:
        of = {pem: market for market, pem in self.connection.keys().items()}
        return [Node(number, of.get(key), "online") for number, key in self.keys.items()]

    def ask(self, call: str, request: Any) -> None:
        if call == "RegisterNode":
            self.keys[max(self.keys, default=0) + 1] = request.public_key.decode()
        else:
            assert call == "UnregisterNode"
            del self.keys[request.node_id]

    connection: Connection


@pytest.fixture
def part(tmp_path: Path) -> CoordinatorPart:
    return create_deployment(tmp_path / "deployment", ["jp", "in"], None, masks=False).coordinator


@pytest.fixture
def letting(part: CoordinatorPart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Admission, SuperLink]:
    link = SuperLink(monkeypatch)
    original = Connection.open

    def opened(name: str) -> Connection:
        link.connection = original(name)
        return link.connection

    monkeypatch.setattr(Connection, "open", opened)
    monkeypatch.setattr(admission, "LASTING_SECONDS", 0.2)
    return Admission(str(part.path), Alive(tmp_path / "alive"), lambda *_: None), link


def test_markets_come_and_go_with_their_keys(letting: tuple[Admission, SuperLink], part: CoordinatorPart) -> None:
    admits, link = letting
    admits.once()
    assert set(link.keys) == {1, 2}
    away = part.keys / "jp.pub"
    text = away.read_bytes()
    away.unlink()
    admits.once()
    assert set(link.keys) == {1, 2}, "a file that is copied is away for a moment"
    away.write_bytes(text)
    admits.once()
    assert set(link.keys) == {1, 2}
    away.unlink()
    admits.once()
    time.sleep(0.3)
    admits.once()
    assert len(link.keys) == 1, "it is away"
    away.write_bytes(text)
    admits.once()
    assert len(link.keys) == 2, "the same key may come again"


@pytest.mark.parametrize("spoil", ["empty key", "folder", "no certificate", "no yaml", "no keys"])
def test_whatever_lies_there_ends_nothing(
    letting: tuple[Admission, SuperLink], part: CoordinatorPart, spoil: str, tmp_path: Path
) -> None:
    admits, link = letting
    admits.once()
    (tmp_path / "alive").unlink()
    kept = shutil.copytree(part.path, tmp_path / "kept")
    if spoil == "empty key":
        (part.keys / "jp.pub").write_bytes(b"")
    elif spoil == "folder":
        (part.keys / "jp.pub").unlink()
        (part.keys / "jp.pub").mkdir()
    elif spoil == "no certificate":
        part.authority.write_bytes(b"")
    elif spoil == "no yaml":
        part.connection.write_text("address: [")
    else:
        shutil.rmtree(part.keys)
    for _ in range(3):
        admits.once()
        time.sleep(0.15)
    assert set(link.keys) == {1, 2}, "what cannot be read puts nobody out"
    assert not (tmp_path / "alive").exists(), "and the process is not healthy meanwhile"
    shutil.rmtree(part.path)
    shutil.copytree(kept, part.path)
    time.sleep(1.0)
    admits.once()
    assert (tmp_path / "alive").exists()


def test_two_markets_with_one_key_are_refused(part: CoordinatorPart) -> None:
    shutil.copy(part.keys / "jp.pub", part.keys / "kr.pub")
    with pytest.raises(UserError, match=r"kr\.pub: the same key as jp\.pub"):
        Connection.open(str(part.path)).keys()


def test_runs_that_were_cut_off(tmp_path: Path) -> None:
    for name, events in {
        "followed": ["submitted", "ended"],
        "cut": ["submitted", "round", "ended", "submitted", "round"],
        "odd": [["x"], "submitted"],
        "finished": ["submitted"],
    }.items():
        (tmp_path / name).mkdir()
        for event in events:
            append_json_line(tmp_path / name / "events.jsonl", {"event": event})
    (tmp_path / "finished" / "summary.json").write_text("{}")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "events.jsonl").write_bytes(b'{"event": "submi\xff')
    (tmp_path / "unreadable" / "events.jsonl").mkdir(parents=True)
    assert [path.name for path in cut_off(tmp_path)] == ["cut", "odd"]


def test_what_a_bundle_has_detached_is_ended() -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "from fedrec.deployment.descendants import adopt_descendants, descendants, end_descendants\n"
        "adopt_descendants()\n"
        "fork = 'import os, time\\nif os.fork() == 0:\\n os.setsid()\\n if os.fork() == 0:\\n  time.sleep(600)\\n'\n"
        "fork += ' os._exit(0)\\ntime.sleep(600)'\n"
        "subprocess.Popen([sys.executable, '-c', fork])\n"
        "until = time.monotonic() + 20\n"
        "before = []\n"
        "while len(before) < 2 and time.monotonic() < until: time.sleep(0.05); before = descendants(os.getpid())\n"
        "end_descendants()\n"
        "print(len(before), len(descendants(os.getpid())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["2", "0"], done.stderr


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a process prints, in the form that the environment asks for; logging is put back as it was."""
    names = ("fedrec", "flwr", "uvicorn")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names}
    levels = {name: logging.getLogger(name).level for name in names}

    def start(**environment: str) -> io.StringIO:
        stream = io.StringIO()
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(sys, "stderr", stream)
        log_to_console("node")
        return stream

    yield start
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = before[name]
        logger.setLevel(levels[name])


def test_logs_are_lines_or_json(said: Any) -> None:
    stream = said(FEDREC_LOG_FORMAT="json")
    logging.getLogger("fedrec.x").info("one\ntwo")
    logging.getLogger("flwr").info("a detail")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["level"], told["process"], told["message"]) == ("INFO", "node", "one\ntwo")
    stream = said(FEDREC_LOG_FORMAT="text", FEDREC_LOG_LEVEL="DEBUG")
    logging.getLogger("flwr").info("a detail")
    assert stream.getvalue().endswith("INFO    node: a detail\n")
    for key, value in (("FEDREC_LOG_LEVEL", "LOUD"), ("FEDREC_LOG_FORMAT", "xml")):
        with pytest.raises(UserError, match=f"{key}={value}"):
            said(**{key: value})
        os.environ[key] = "INFO" if "LEVEL" in key else "text"


def test_logs_repeat_nothing_and_name_keys_shortly(said: Any) -> None:
    stream = said()
    log = logging.getLogger("fedrec.x")
    pem = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----"
    for _ in range(3):
        log.warning("asked again")
    for text in ("first", f"second {pem}"):
        try:
            raise RuntimeError(text)
        except RuntimeError:
            log.exception("Exception in ASGI application")
    printed = stream.getvalue()
    assert printed.count("asked again") == 1
    assert "RuntimeError: first" in printed
    assert "RuntimeError: second key " in printed, "another exception under the same words is news"
    assert "MIGH" not in printed


def test_the_demonstration_hands_over_files_and_no_links(tmp_path: Path) -> None:
    runs, report = tmp_path / "runs", tmp_path / "report"
    (runs / "run").mkdir(parents=True)
    report.mkdir()
    assert not hand_over(runs, report)
    (runs / "run" / "report.html").write_text("page")
    (runs / "run" / "summary.json").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="symbolic"):
        hand_over(runs, report)
    assert not (report / "summary.json").exists()
    (runs / "run" / "summary.json").unlink()
    (runs / "run" / "summary.json").write_text("{}")
    assert hand_over(runs, report)
    assert (report / "report.html").read_text() == "page"
    assert not hand_over(runs, report), "once"


def test_a_run_whose_start_was_not_answered_is_stopped_before_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedrec.deployment import run as running
    from fedrec.deployment.connection import UnreachableError

    calls: list[str] = []
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.01)

    class Line:
        def start(self, bundle: Any, settings: dict[str, str]) -> int:
            calls.append("start")
            if calls.count("start") < 3:
                raise UnreachableError("cut")
            return 7

        def stop_unanswered(self, name: str) -> None:
            calls.append(f"stop {name}")

    lead = running.Deployment._start
    assert lead(SimpleNamespace(), Line(), None, {"run": "r"}) == 7  # type: ignore[arg-type]
    assert calls == ["start", "stop r", "start", "stop r", "start"]
