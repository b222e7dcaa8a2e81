"""Following a run: reads ``events.jsonl`` as it grows, whatever engine writes it, and says in words what happens."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedrec.files import read_json_lines

_POLL_SECONDS = 0.2
_STAGES = {
    "train.finetune": "fine-tuning in every market",
    "train.local": "local-only twins",
    "train.local_shared": "local-only twins on shared semantics",
    "evaluate.report": "evaluation",
}


class ProgressView:
    """Prints one line an event; on a terminal also a bar over the markets that have answered."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._markets = 1
        self._bar: Progress | None = None
        self._task: Any = None

    @contextmanager
    def follow(self, events: Path) -> Iterator[None]:
        """Show events while the block runs."""
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(events, stop), daemon=True)
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("starting", total=None)
            self._bar.start()
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def answered(self, market: str, action: str) -> None:
        """One market has answered."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"{action.partition('.')[2]} {market}")

    def _watch(self, events: Path, stop: threading.Event) -> None:
        shown = 0
        while True:
            last = stop.is_set()
            for event in read_json_lines(events)[shown:]:
                shown += 1
                self._show(event)
            if last:
                return
            stop.wait(_POLL_SECONDS)

    def _show(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "started":
            self._markets = len(event["markets"])
        if self._bar is not None and event["event"] in {"started", "round", "stage", "semantics"}:
            self._bar.reset(self._task, total=self._markets)
        line = describe_event(event)
        if line:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe_event(event: Mapping[str, Any]) -> str:
    """One event in words; empty for those that need none."""
    kind = event["event"]
    if kind == "started":
        return (
            f"{len(event['markets'])} markets: {', '.join(event['markets'])}; protocol {event['protocol']}; "
            f"semantics {event['semantics']}"
        )
    if kind == "semantics":
        return f"shared semantics: {event['pairs']} item pairs, {event['known_items']} of {event['items']} items known"
    if kind == "round":
        return _describe_round(event)
    if kind == "stop":
        return f"stopped in round {event['round']}: {event['reason']}"
    if kind == "pretrained":
        return f"pretraining done: {event['rounds']} rounds, best after round {event['best_round']}"
    if kind == "stage":
        return _STAGES.get(str(event["action"]), "")
    if kind == "failed":
        return f"{event['market']}: {event['action']} failed: {event['reason']}"
    return ""


def _describe_round(event: Mapping[str, Any]) -> str:
    text = f"round {event['round']}/{event['total']}  {event['seconds']:.1f} s"
    if event["validation_before"] is not None:
        text += f"  validation NDCG@10 {event['validation_before']:.4f} after round {event['judged']}"
    if event["drift"] is not None:
        text += f"  cosine {event['drift']:.2f}"
    return text + "".join(f"  [{one['market']} rejected: {one['reason']}]" for one in event["rejected"])
