"""What an observer has seen of a run: set-up answers, and every round's model and uploads. Lives in memory alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedrec.exchange.payload import Array, Payload

Arrays = Mapping[str, Array]
ObserverName = Literal["server, each upload", "server, sums", "peer market"]
UPLOADS: ObserverName = "server, each upload"
SUMS: ObserverName = "server, sums"
PEER: ObserverName = "peer market"


@dataclass(frozen=True)
class Round:
    """One round as the server sees it: what it sent to all, and what came back by market."""

    stage: str
    number: int
    sent: Arrays
    uploads: dict[str, Payload]


@dataclass
class Observation:
    """Everything of one run that was not a market's own."""

    rounds: list[Round] = field(default_factory=list)
    pairs: dict[str, Payload] = field(default_factory=dict)  # by market: item keys and pairs, counted or noised
    vectors: dict[str, Array] = field(default_factory=dict)  # by market: the item vectors it was sent, [I, e]
    counts: dict[str, Arrays] = field(default_factory=dict)  # by market: what it was sent of the pairs of all
    statistics: dict[str, Payload] = field(default_factory=dict)  # by market: item keys and a ranker's statistics
    others: dict[str, Arrays] = field(default_factory=dict)  # by market: what it was sent of the others' statistics
    final: Arrays = field(default_factory=dict)  # the shared model in the end

    def of(self, stage: str) -> list[Round]:
        """The rounds of one kind, in order."""
        return [entry for entry in self.rounds if entry.stage == stage]

    def steps(self, stage: str, market: str, observer: ObserverName) -> list[tuple[Arrays, Arrays]]:
        """Models before and after, as far as the observer can tell what ``market`` did: its own uploads, or sums.

        Who sees sums sees the model of every round; what a market did in all of them lies between the first and last.
        """
        rounds = self.of(stage)
        if observer == UPLOADS:
            return [(entry.sent, entry.uploads[market].arrays) for entry in rounds if market in entry.uploads]
        return [(rounds[0].sent, self.final)] if rounds and self.final else []
