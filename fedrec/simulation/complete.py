"""One run of many, brought to its end: made, taken up where it was interrupted, or found finished."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.progress import OnReply, Progress, ignore, no_progress
from fedrec.recipe import Recipe
from fedrec.report.following import follow
from fedrec.report.progress import describe_event
from fedrec.runs.folder import RunFolder
from fedrec.simulation.run import prepare_simulation, resume_simulation


def complete(
    recipe: Recipe,
    data: Path | None,
    path: Path,
    progress: Progress = no_progress,
    on_reply: OnReply = ignore,
) -> RunFolder:
    """The finished run in ``path``; what is there already is not done again.

    ``progress`` hears each event in words, from a thread of its own; ``on_reply`` each answer.
    What the latter raises ends the run.
    """
    if not (path / "summary.json").is_file():
        begun = (path / "manifest.json").is_file()
        simulation = resume_simulation(path) if begun else prepare_simulation(recipe, data, path)
        with follow(simulation.run.events, [_InWords(progress)]):
            simulation.start(on_reply)
    return RunFolder.open(path)


@dataclass(frozen=True)
class _InWords:
    """A listener that says events as ``fedrec run`` does."""

    progress: Progress

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def event(self, event: Mapping[str, Any]) -> None:
        """What there is to say of it."""
        text = describe_event(event)
        if text:
            self.progress(text)

    def answered(self, market: str, action: str) -> None:
        """Too many to say."""
