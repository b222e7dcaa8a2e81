"""Following a run: ``events.jsonl`` is read as it grows, whatever engine writes it, and told to whoever listens."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from fedrec.files import JsonLines

_POLL_SECONDS = 0.2
Event = Mapping[str, Any]


class Listener(Protocol):
    """What hears of a run's events."""

    def event(self, event: Event) -> None:
        """One event, in order."""

    def answered(self, market: str, action: str) -> None:
        """One market has answered; more often than there are events, and only where the engine is on this machine."""

    def listening(self) -> Any:
        """A context to be entered before the first event and left after the last."""


class JsonView:
    """Every event as a line of JSON."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def event(self, event: Event) -> None:
        """As it stands in ``events.jsonl``."""
        self._write(json.dumps(event))

    def answered(self, market: str, action: str) -> None:
        """Is no event."""


@contextmanager
def follow(events: Path, listeners: Sequence[Listener]) -> Iterator[None]:
    """Tell listeners of events while the block runs; those of an earlier start of the run are not told again."""
    lines = JsonLines(events)
    lines.read()
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(lines, listeners, stop), daemon=True)
    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener.listening())
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _watch(lines: JsonLines, listeners: Sequence[Listener], stop: threading.Event) -> None:
    hearing = list(listeners)
    while True:
        last = stop.is_set()
        for event in lines.read():
            for listener in list(hearing):
                try:
                    listener.event(event)
                except Exception as error:  # a reader that has gone ends neither the run nor what others read of it
                    hearing.remove(listener)
                    print(f"fedrec: {type(listener).__name__} hears no more: {error}", file=sys.stderr)
        if last:
            return
        stop.wait(_POLL_SECONDS)
