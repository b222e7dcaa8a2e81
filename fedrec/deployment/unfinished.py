"""Runs that ended with the process that followed them: a machine, a container or an engine was restarted."""

import json
from contextlib import suppress
from pathlib import Path

_TAIL = 1024 * 1024  # bytes of a run's events that are looked at


def cut_off(runs: Path) -> list[Path]:
    """Folders of runs that were submitted and neither ended nor left a summary; what cannot be read is none."""
    found = []
    for events in sorted(runs.glob("*/events.jsonl")):
        with suppress(OSError):
            if not (events.parent / "summary.json").is_file() and _last_state(events) == "submitted":
                found.append(events.parent)
    return found


def _last_state(events: Path) -> str:
    """Whether a run was last submitted or ended; empty where its last events tell neither."""
    with events.open("rb") as stream:
        stream.seek(max(events.stat().st_size - _TAIL, 0))
        lines = stream.read(_TAIL).decode(errors="replace").splitlines()
    state = ""
    for line in lines:
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") in ("submitted", "ended"):
                state = str(event["event"])
    return state
