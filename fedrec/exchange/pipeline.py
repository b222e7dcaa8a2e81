"""The update pipeline: what happens to a payload on its way out of a market, undone in reverse at the server."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fedrec.exchange.payload import Origin, Payload


class Stage(ABC):
    """One step of the pipeline (clip, noise, compress, mask, count)."""

    @abstractmethod
    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Transform what leaves the market; runs at the market."""

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Undo the transformation as far as it can be undone; runs at the server."""
        return payload


class UpdatePipeline:
    """Stages in order: every payload of a market goes through all of them."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Apply every stage, first to last."""
        for stage in self.stages:
            payload = stage.outgoing(payload, origin)
        return payload

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Undo every stage, last to first."""
        for stage in reversed(self.stages):
            payload = stage.incoming(payload, origin)
        return payload
