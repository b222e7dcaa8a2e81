"""The noun ``attack``: what an observer learns of a market from what left it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar


class Observed(Enum):
    """What of a run there can be to look at."""

    ROUNDS = "models before and after rounds of the sequential model"
    PAIRS = "counts of item pairs"
    CODES = "counts and sums of codebooks"
    STATISTICS = "a ranker's statistics"
    RANKER = "models before and after rounds of a ranker"


@dataclass(frozen=True)
class Finding:
    """What one attack came to in one market. ``control``: a check of the audit itself, with what must come out."""

    market: str
    attack: str
    observer: str
    by: str
    figures: dict[str, float]
    control: str = ""


class Attack:
    """Base of attacks; ``fedrec audit RUN --attack NAME`` builds one without arguments and hands it every market.

    It is skipped where a run has none of what it ``needs``. An attack measures on people of whom a coin has decided
    whether they took part, so that nothing but what left can tell them apart.
    """

    needs: ClassVar[frozenset[Observed]]

    def findings(self, view: Any) -> Iterator[Finding]:
        """In one market. Of ``view`` (:class:`fedrec.simulation.attacks.view.MarketView`):

        ``name``: the market; ``recipe``; ``subjects``: histories of people and whether they took part [U];
        ``observation``: what was seen, by round and market; ``steps(observer)``: models before and after;
        ``model``: the market's model, to be loaded with them; ``elsewhere`` [I]: what anyone could guess items by;
        ``generator(purpose)``: seeded chance.
        """
        raise NotImplementedError
