"""What the server asks of a market, before any task sees it."""

from dataclasses import dataclass

from fedrec.exchange.payload import Array
from fedrec.recipe import Recipe


@dataclass(frozen=True)
class Instruction:
    """What the server asks of this market."""

    recipe: Recipe
    round: int
    arrays: dict[str, Array]
    texts: dict[str, list[str]]
