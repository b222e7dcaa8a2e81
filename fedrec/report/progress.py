"""What a person reads while a run goes on: its events in words.

Piped, one plain line an event. On a terminal also a bar: stage, market that answered last, answers given and rate,
time left in the stage, and the validation figure as it stands.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_STAGES = {
    "pooled": "pooled model (a reference: all histories in one place)",
    "train.finetune": "fine-tuning in every market",
    "train.collaborative": "collaborative vectors in every market",
    "train.codes": "codes in every market",
    "train.ctr": "click-through models in every market",
    "train.local": "local baselines",
    "train.local_shared": "local baselines on shared semantics",
    "evaluate.report": "evaluation",
}


class _Rate(ProgressColumn):
    """Answers a minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{60 * task.speed:.0f}/min" if task.speed else "", style="progress.data.speed")


class ProgressView:
    """Prints one line an event; on a terminal also a bar over the answers that a stage waits for."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._markets = 1
        self._rounds = _RoundClock()
        self._stage = "starting"
        self._validation = ""
        self._bar: Progress | None = None
        self._task: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """With a bar, on a terminal."""
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task(self._stage, total=None)
            self._bar.start()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def answered(self, market: str, action: str) -> None:
        """One market has answered."""
        if self._bar is not None and not action.startswith("query."):
            self._bar.update(self._task, advance=1, description=f"{self._stage}  {market}{self._validation}")

    def event(self, event: Mapping[str, Any]) -> None:
        """A line, where there is something to say; and the bar goes on."""
        line = describe_event(event)
        if event["event"] == "round":
            line += self._rounds.left(event)
        if line:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._follow_stage(event)

    def _follow_stage(self, event: Mapping[str, Any]) -> None:
        """Keep the bar on what is going on."""
        kind = event["event"]
        if kind == "started":
            self._markets = len(event["markets"])
            self._begin("round 1", None)
        elif kind == "round":
            if event["validation_before"] is not None:
                self._validation = f"  validation {event['validation_before']:.4f}"
            self._stage = f"round {min(event['round'] + 1, event['total'])}/{event['total']}"
            if self._bar is not None:
                done, total = event["round"] * self._markets, event["total"] * self._markets
                self._bar.update(self._task, completed=done, total=total, description=self._stage + self._validation)
        elif kind == "pooled":
            self._validation = f"  validation {event['validation']:.4f}"
            if self._bar is not None:
                self._bar.update(self._task, completed=event["offered"], total=event["total"])
                self._bar.update(self._task, description=f"{self._stage}{self._validation}")
        elif kind == "refit":
            self._validation = ""
            self._begin("round 1", None)
        elif kind == "answered":
            self.answered(event["market"], event["action"])
        elif kind == "stage":
            words = _STAGES.get(str(event["action"]), "").partition(" (")[0]
            self._validation = ""
            self._begin(words, len(event["markets"]))

    def _begin(self, stage: str, total: int | None) -> None:
        self._stage = stage
        if self._bar is not None:
            self._bar.reset(self._task, total=total, description=stage)


class _RoundClock:
    """How long the rounds that are left will take, going by those that were."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def left(self, event: Mapping[str, Any]) -> str:
        """In words, after each round but the last; the first is slower than the others and alone says little."""
        self._seconds.append(event["seconds"])
        rounds = event["total"] - event["round"]
        if not rounds or len(self._seconds) < 2:
            return ""
        recent = self._seconds[1:][-5:]
        return f"  {_span(rounds * sum(recent) / len(recent))} left at most"


def describe_event(event: Mapping[str, Any]) -> str:
    """One event in words; empty for those that need none."""
    text = _in_words(event)
    return f"{event['part']}: {text}" if text and "part" in event else text


def _in_words(event: Mapping[str, Any]) -> str:
    kind = event["event"]
    if kind == "started":
        return (
            f"{len(event['markets'])} markets: {_some(event['markets'])}; protocol {event['protocol']}; "
            f"semantics {event['semantics']}"
        )
    if kind == "plan":
        return _describe_plan(event)
    if kind == "form":
        return f"from here on ease.dense_items {event['dense_items']:,}, ease.neighbours {event['neighbours']:,}"
    if kind == "vocabulary":
        return f"shared vocabulary: {event['items']} items"
    if kind == "semantics":
        aligned = f", turned to the earlier run's by {event['aligned']} common ones" if "aligned" in event else ""
        known = f"{event['known_items']} of {event['items']} items known"
        return f"shared semantics: {event['pairs']} item pairs, {known}{aligned}"
    if kind == "gram":
        return f"summed counts: {event['pairs']} item pairs over {event['items']} items"
    if kind == "statistics":
        return f"summed statistics: {event['pairs']} item pairs over {event['items']} items"
    if kind == "refit":
        return f"again from the beginning, with validation users: {event['rounds']} rounds"
    if kind == "resumed":
        return f"going on after round {event['round']}"
    if kind == "round":
        return _describe_round(event)
    if kind == "stop":
        return f"stopped in round {event['round']}: {event['reason']}"
    if kind == "pretrained":
        return f"pretraining done: {event['rounds']} rounds, best after round {event['best_round']}"
    if kind == "stage":
        return _STAGES.get(str(event["action"]), "")
    if kind == "submitted":
        return f"run {event['run']} on the SuperLink, bundle {event['bundle'][:12]}"
    if kind == "refused":
        who = f"market {event['market']!r}: " if event["market"] else ""
        return f"{who}node {event['node']} refused: {event['reason']}"
    if kind == "failed":
        return f"{event['market']}: {event['action']} failed: {event['reason']}"
    return ""


def _describe_plan(event: Mapping[str, Any]) -> str:
    largest = max(event["gigabytes"], key=lambda market: event["gigabytes"][market])
    text = f"memory: about {event['gigabytes'][largest]:.1f} GB in the largest market ({largest})"
    if event["sparse"]:
        text += f"; over {event['dense_items']:,} items, so EASE has sparse weights: {_some(event['sparse'])}"
    return text


def _describe_round(event: Mapping[str, Any]) -> str:
    text = f"round {event['round']}/{event['total']}  {event['seconds']:.1f} s"
    if event["validation_before"] is not None:
        what = "explained" if event["stage"] == "codebook" else "validation NDCG@10"
        text += f"  {what} {event['validation_before']:.4f} after round {event['validated']}"
    if event["drift"] is not None:
        text += f"  cosine {event['drift']:.2f}"
    return text + "".join(f"  [{one['market']} rejected: {one['reason']}]" for one in event["rejected"])


def _some(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _span(seconds: float) -> str:
    return time.strftime("%H:%M:%S" if seconds >= 3600 else "%M:%S", time.gmtime(seconds))
