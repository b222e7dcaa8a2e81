"""What one market sends in one message, before any engine wraps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Text = str | Sequence[str]

# Names of the records of a Flower message; both sides use them.
ARRAYS, SCALARS, TEXTS, CONFIG = "arrays", "scalars", "texts", "config"


@dataclass(frozen=True)
class Payload:
    """Arrays, scalars and texts by name.

    ``base`` holds the values an update started from, as the server sent them. It is never sent back; stages that work
    on the change (clipping, the ledger's count of changed rows) need it.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)
    base: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Which market sends, in which round (0: not a round), in answer to which action."""

    market: str
    round: int
    action: str
