"""The stage that lets nothing out of a market which privacy does not account for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from fedrec.components.stage import Place, Stage
from fedrec.errors import EgressError
from fedrec.exchange.declaration import DECLARATIONS
from fedrec.exchange.payload import PUBLIC, Origin, Payload, Provenance
from fedrec.privacy.release import Release

DECIMALS = 3  # of a figure outside epsilon


@dataclass(frozen=True)
class GuardStage(Stage):
    """Refuses arrays without a provenance, charges releases, and holds back figures that stand outside epsilon.

    ``charge`` is the market's budget; ``tells`` says whether such figures may leave with an answer. They leave rounded.
    """

    place: ClassVar[Place] = Place.GUARD

    charge: Callable[[str, Release], None]
    tells: Callable[[Origin], bool]

    def outgoing(self, payload: Payload, origin: Origin) -> Payload:
        """Raise :class:`EgressError` for what is not private; nothing is charged then, and nothing sent."""
        declared = DECLARATIONS[origin.action]
        found: dict[str, Provenance] = {}
        for name in payload.sent:
            provenance = payload.provenance_of(name)
            if provenance is None or provenance.kind == "outside":
                raise EgressError(f"{origin.action}: array {name!r} is made of users without noise; nothing was sent")
            found[name] = provenance
        words = {name: declared.provenance_of(name) for name in (*payload.scalars, *payload.texts)}
        for provenance in found.values():
            if provenance.release is not None:
                self.charge(provenance.key, provenance.release)
        public = {name for name, provenance in words.items() if provenance == PUBLIC}
        kept = set(words) if public != set(words) and self.tells(origin) else public
        scalars = {name: value if name in public else round(value, DECIMALS) for name, value in payload.scalars.items()}
        return replace(
            payload,
            scalars={name: value for name, value in scalars.items() if name in kept},
            texts={name: value for name, value in payload.texts.items() if name in kept},
            provenance={**found, **words},
        )
