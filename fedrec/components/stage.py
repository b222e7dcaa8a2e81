"""The noun ``stage``: what happens to an update on its way out of a market, undone in reverse at the server."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, Protocol

from fedrec.components.section import ComponentSettings
from fedrec.exchange.payload import Array, Origin, Payload


class Place(IntEnum):
    """Where in the pipeline a stage stands: stages are sorted by it, equal ones stay in the order they came in.

    What a recipe names stands before GUARD. Then come the market's own: what privacy lets through, masks, the ledger.
    """

    CHANGE = 10
    CLIP = 20
    COMPRESS = 30
    GUARD = 40
    MASK = 50
    COUNT = 60


class Stage(ABC):
    """One step of the pipeline."""

    place: ClassVar[Place]

    @abstractmethod
    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Transform what leaves the market; runs at the market."""

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Undo the transformation as far as it can be undone; runs at the server."""
        return payload


class Memory(Protocol):
    """What a market keeps of its own earlier rounds."""

    def load(self, server_round: int) -> Mapping[str, Array]:
        """What the latest round before this one left; empty if none did."""

    def save(self, server_round: int, arrays: Mapping[str, Array]) -> None:
        """What this round leaves."""


class UpdateStage(Stage):
    """Base of stages that a recipe names; built as ``StageClass(settings, memory)`` on both sides.

    At the server there is no ``memory``. ``outgoing`` gets updates alone, with the parameters that came as
    ``payload.base``, and never the market's data: under privacy it changes what is released already. What it sends
    keeps the parameters' names or adds to them (``encoder.norm.weight#scale``), because only such may leave.
    ``incoming`` trusts no payload and raises ``ValueError`` for what cannot be.
    """

    Settings: ClassVar[type[ComponentSettings]]
    place: ClassVar[Place] = Place.CHANGE
    codes: ClassVar[bool] = True
    """Whether what it sends means nothing before ``incoming``. Under masks nothing can be decoded."""

    def __init__(self, settings: Any, memory: Memory | None = None) -> None:
        self.settings = settings
        self.memory = memory
