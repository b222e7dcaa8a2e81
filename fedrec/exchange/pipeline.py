"""The update pipeline: what happens to a payload on its way out of a market, undone in reverse at the server."""

from collections.abc import Sequence

from fedrec.components.stage import Stage, UpdateStage
from fedrec.exchange.payload import Origin, Payload


class UpdatePipeline:
    """Stages by their places: every payload of a market goes through all of them, but for those of updates alone."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(sorted(stages, key=lambda stage: stage.place))

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Apply every stage, first to last."""
        for stage in self.stages:
            if payload.base or not isinstance(stage, UpdateStage):
                payload = stage.outgoing(payload, origin)
        return payload

    def incoming(self, payload: Payload, origin: Origin) -> Payload:
        """Undo every stage, last to first."""
        for stage in reversed(self.stages):
            if payload.base or not isinstance(stage, UpdateStage):
                payload = stage.incoming(payload, origin)
        return payload
