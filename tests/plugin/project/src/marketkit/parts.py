"""One small component of every other noun."""

import dataclasses

import numpy as np
import polars as pl
from pydantic import Field
from torch.nn import functional as F

from fedrec.components import (
    Aggregator,
    Attack,
    ComponentSettings,
    Finding,
    Importer,
    Loss,
    LossSettings,
    Metric,
    Observed,
    Place,
    Semantics,
    SemanticsSettings,
    Tracker,
    UpdateStage,
    weighted_average,
)


class SmoothSettings(LossSettings):
    """Of loss.kind smooth."""

    kind: str = "smooth"
    share: float = Field(default=0.1, ge=0, lt=1, description="of the mass, spread over all items")


class Smooth(Loss):
    """Cross-entropy with label smoothing."""

    Settings = SmoothSettings

    def rows(self, queries, keys, targets):
        """[N]."""
        return F.cross_entropy(queries @ keys.T, targets, label_smoothing=self.settings.share, reduction="none")


class HalfwaySettings(ComponentSettings):
    """Of aggregator.kind halfway."""

    kind: str = "halfway"


class Halfway(Aggregator):
    """Half of the way to the mean; counts its rounds."""

    Settings = HalfwaySettings
    linear = True

    def apply(self, current, updates, state):
        """The middle."""
        mean = weighted_average(updates)
        result = {name: ((current[name] + mean[name]) / 2).astype(current[name].dtype) for name in current}
        return result, {"rounds": np.asarray(state.get("rounds", 0)) + 1}


class RoundedSettings(ComponentSettings):
    """Of stage rounded."""

    kind: str = "rounded"
    decimals: int = 4


class Rounded(UpdateStage):
    """Few decimals of every number."""

    Settings = RoundedSettings
    place = Place.CHANGE
    codes = False

    def outgoing(self, payload, origin):
        """Round."""
        arrays = {name: np.round(array, self.settings.decimals) for name, array in payload.arrays.items()}
        return dataclasses.replace(payload, arrays=arrays)


class FirstSettings(ComponentSettings):
    """Of metric first."""

    kind: str = "first"


class First(Metric):
    """Whether the first item of the list is held out."""

    Settings = FirstSettings
    sees_lists = False

    def __call__(self, ranked):
        """[U]."""
        return (np.bincount(ranked.rows, ranked.ranks < 1) > 0).astype(float)


class Lines(Importer):
    """``user item seconds`` in every line."""

    def frame(self, source, options):
        """One row a line."""
        rows = [line.split() for line in source.read_text().splitlines()]
        return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


class Kept(Tracker):
    """Writes the names of events into the run's folder."""

    def event(self, event):
        """A line each."""
        with (self.run / "kept.txt").open("a") as file:
            file.write(f"{event['event']}\n")


class LettersSettings(SemanticsSettings):
    """Of semantics.kind letters."""

    kind: str = "letters"


class Letters(Semantics):
    """How often each letter is in an item's text."""

    Settings = LettersSettings

    def alone(self, evidence):
        """Raw vectors [I, dimension]."""
        vectors = np.zeros((len(evidence.keys), self.dimension), np.float32)
        for row, text in enumerate(evidence.texts):
            for letter in text.lower():
                vectors[row, ord(letter) % self.dimension] += 1
        return vectors


class Norms(Attack):
    """How far a market's updates went: nothing of users, but something."""

    needs = frozenset({Observed.ROUNDS})

    def findings(self, view):
        """One figure."""
        steps = view.steps("server, each upload")
        squares = [sum(float(np.square(after[name] - before[name]).sum()) for name in after) for before, after in steps]
        figures = {"norm": float(np.sqrt(np.mean(squares)))}
        yield Finding(view.name, "length of updates", "server, each upload", "norms", figures)
