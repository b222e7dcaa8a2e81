"""What the server asks of a market, before any task sees it."""

from dataclasses import dataclass, field

from fedrec.errors import RunError
from fedrec.exchange.payload import Array
from fedrec.recipe import Recipe


@dataclass(frozen=True)
class Instruction:
    """What the server asks of this market."""

    recipe: Recipe
    round: int
    arrays: dict[str, Array]
    texts: dict[str, list[str]]
    opened: dict[str, Array] = field(default_factory=dict)  # of a masked round: the sum that the last one opened


def refuse_unvalidated(recipe: Recipe) -> None:
    """Raise :class:`RunError` for a question how good a model is, where no round is validated: it may be any model."""
    if not recipe.validated:
        raise RunError("rounds of a private recipe are not validated; no such figure leaves")
