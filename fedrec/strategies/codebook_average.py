"""The strategy of common codebooks: counts and sums make the next ones, the shared encoder is averaged beside them."""

import math
from collections.abc import Mapping

import numpy as np

from fedrec.exchange.codebook import (
    COUNT,
    LEVEL,
    SUM,
    CodeStatistics,
    next_levels,
    read_statistics,
)
from fedrec.exchange.declaration import CODEBOOK, VALIDATE_CODEBOOK
from fedrec.exchange.payload import STATISTICS, Array, Payload
from fedrec.exchange.reply import ReplySchema
from fedrec.recipe import Recipe
from fedrec.strategies.records import Answer
from fedrec.strategies.shared_average import SharedAverage


class CodebookAverage(SharedAverage):
    """Arrays: the encoder's parameters, and ``codebook.L`` for every common level L."""

    train_action, validate_action = CODEBOOK, VALIDATE_CODEBOOK

    def __init__(self, node_of: Mapping[str, int], recipe: Recipe, largest: Mapping[str, float] | None = None) -> None:
        super().__init__(node_of, recipe, largest)
        self.settings = recipe.codes
        self._moving: dict[str, Array] = {}  # counts and sums so far, by level

    @property
    def parameters(self) -> dict[str, Array]:
        """The encoder's and decoder's."""
        return {name: array for name, array in self.current.items() if not name.startswith(LEVEL)}

    @property
    def levels(self) -> list[str]:
        """The common levels, by number."""
        return [str(level) for level in range(len(self.settings.global_levels))]

    def state(self) -> dict[str, Array]:
        """The optimiser's, and the moving counts and sums."""
        return {**super().state(), **self._moving}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a saved :meth:`state`."""
        super().restore(state)
        self._moving = {name: array for name, array in state.items() if name.startswith((COUNT, SUM))}

    def _reason_to_reject(self, payload: Payload) -> str | None:
        names = frozenset(part + level for level in self.levels for part in (COUNT, SUM))
        schema = ReplySchema(self.parameters, self.federation.norm_bound, names, self.train_action)
        return schema.reason_to_reject(payload)

    def _too_heavy(self, answer: Answer) -> str | None:
        reason = super()._too_heavy(answer)
        if reason is None and self.masked is None:  # of masked statistics nothing can be said
            try:
                self._statistics(answer)
            except ValueError as error:
                return str(error)
        return reason

    def _statistics_like(self) -> dict[str, Array]:
        codebooks = {level: np.asarray(self.current[LEVEL + level]) for level in self.levels}
        counts = {STATISTICS + COUNT + level: codebook[:, 0] for level, codebook in codebooks.items()}
        return counts | {STATISTICS + SUM + level: codebook for level, codebook in codebooks.items()}

    def _statistics(self, answer: Answer) -> list[CodeStatistics]:
        codebooks = [np.asarray(self.current[LEVEL + level], np.float32) for level in self.levels]
        items = self.largest.get(answer.origin.market, math.inf)
        return read_statistics(answer.payload.statistics, codebooks, self.federation.norm_bound, items)

    def _next(self, accepted: list[Answer]) -> dict[str, Array]:
        if self.masked is not None:
            return self._step_masked(self.masked, accepted)
        told = [self._statistics(answer) for answer in accepted]
        levels = {name: array for name, array in self.current.items() if name.startswith(LEVEL)}
        parts = [[market[level] for market in told] for level in range(len(levels))]
        codebooks, self._moving = next_levels(
            levels, self._moving, parts, self.settings, self.federation.max_share, self.seed, self.server_round
        )
        return super()._next(accepted) | codebooks
