"""The noun ``tracker``: who follows a run as it goes, at the side of the person who started it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar


class Tracker:
    """Base of trackers; ``fedrec run --track NAME`` builds one of the run's folder and the recipe's sections.

    It hears what the coordinator knows: no figure of a single user is among it.
    """

    package: ClassVar[str | None] = None
    """A library that has to be installed for it."""

    def __init__(self, run: Path, recipe: Mapping[str, Any]) -> None:
        self.run = run
        self.recipe = recipe

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around the whole run; what is opened here is closed whatever happens."""
        yield

    def event(self, event: Mapping[str, Any]) -> None:
        """One line of ``events.jsonl``; ``event["event"]`` says which (started, round, stage, finished, ...)."""

    def answered(self, market: str, action: str) -> None:
        """A market has answered a question."""
