"""What follows from a masked sum: the server takes this step, and every market takes it again before it goes on.

A server that could send any parameters could ask a round's question once more as the next round's, of fewer markets.
So each masked round begins with the sum that the last one opened, and what has to follow from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.components.aggregator import Update
from fedrec.errors import RunError
from fedrec.exchange.aggregation import apply_aggregator
from fedrec.exchange.codebook import COUNT, LEVEL, SUM, CodeStatistics, next_levels
from fedrec.exchange.declaration import CODEBOOK
from fedrec.exchange.payload import STATISTICS, Array, with_prefix
from fedrec.exchange.weights import weights_by_market
from fedrec.masking.protocol import MarketMasks, Terms, with_masks
from fedrec.masking.ring import Ring, format_of, rings
from fedrec.privacy.noise import digest
from fedrec.recipe import Recipe

Floats = NDArray[np.float64]
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6  # two processors need not agree on the last bit
_MOVING = (COUNT, SUM)  # prefixes of what moves beside codebooks, in a state


@dataclass(frozen=True)
class OpenedSum:
    """What the markets must be shown of the sum that was opened last."""

    round: int
    over: Sequence[str]
    sums: Mapping[str, Ring]
    secrets: Mapping[str, str]  # by market, see :func:`fedrec.masking.protocol.secrets_of`

    def describe(self) -> dict[str, Any]:
        """All but the sums, as JSON values."""
        return {"round": self.round, "over": list(self.over), "secrets": dict(self.secrets)}

    def texts(self) -> dict[str, list[str]]:
        """All but the sums, as they travel."""
        names = sorted(self.secrets)
        secrets = [self.secrets[name] for name in names]
        return {"opened": [str(self.round)], "over": list(self.over), "behind": names, "secrets": secrets}

    @classmethod
    def of_texts(cls, texts: Mapping[str, Sequence[str]], arrays: Mapping[str, Array]) -> "OpenedSum | None":
        """As it came; None where nothing was opened yet. Raises :class:`RunError` for what cannot be one."""
        if "opened" not in texts:
            return None
        try:
            (number,) = texts["opened"]
            secrets = dict(zip(texts["behind"], texts["secrets"], strict=True))
            return cls(int(number), sorted(texts["over"]), rings(arrays), secrets)
        except (KeyError, ValueError):
            raise RunError("masks: what came of the last sum cannot be read") from None


def decoded(sums: Mapping[str, Ring], members: int, recipe: Recipe) -> dict[str, Floats]:
    """Sums as numbers, by name."""
    largest, noised = recipe.masks.range, recipe.privacy.on
    return {name: format_of(name, members, largest, noised).decode(total) for name, total in sums.items()}


def average(sums: Mapping[str, Floats], current: Mapping[str, Array], total: float) -> dict[str, Array]:
    """The weighted average of parameters, from the sum of their weighed changes; ``total``: of the weights."""
    return {
        name: np.asarray(np.asarray(value, np.float64) + np.asarray(sums[name]) / total, value.dtype)
        for name, value in sorted(current.items())
    }


def following(
    recipe: Recipe,
    action: str,
    number: int,
    current: Mapping[str, Array],
    state: Mapping[str, Array],
    sums: Mapping[str, Floats],
    total: float,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The next shared arrays after round ``number`` of an action, and the state of the server behind them.

    ``current``: what the round began with; ``state``: of the server then, empty in the first; ``total``: see
    :func:`average`.
    """
    parameters = {name: array for name, array in current.items() if not name.startswith(LEVEL)}
    mean = Update("", average(sums, parameters, total), 1.0)
    result, after = apply_aggregator(recipe.aggregator, parameters, [mean], state)
    if action == CODEBOOK:
        levels = {name: array for name, array in current.items() if name.startswith(LEVEL)}
        told = with_prefix(sums, STATISTICS)
        parts = [
            [CodeStatistics(told[f"{COUNT}{level}"].astype(np.int64), told[f"{SUM}{level}"])]
            for level in range(len(levels))
        ]
        moving = {name: array for name, array in state.items() if name.startswith(_MOVING)}
        codebooks, moving = next_levels(
            levels, moving, parts, recipe.codes, recipe.federation.max_share, recipe.seed, number
        )
        result, after = result | codebooks, after | moving
    return result, after


def follow(
    recipe: Recipe,
    masks: MarketMasks,
    opened: OpenedSum,
    current: Mapping[str, Array],
    state: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What a market expects after a sum that it was part of, and the server's state: see :func:`following`.

    A market that did not open its shares was told of no total. What is behind the masks shows it that enough others
    did; and all must be told the same parameters, or masks do not cancel, so those who know the total speak for it.
    """
    members = masks.members or []
    if not set(opened.over) <= set(members):
        raise RunError(f"masks: round {opened.round} was not over the markets that are named now")
    check_sum(opened, masks)
    sizes = {name: masks.announcements[name].weight for name in members}
    weights = weights_by_market(recipe.federation.weights, sizes, recipe.federation.max_share)
    total = sum(weights[name] for name in sorted(opened.over))
    action, number = masks.terms.action, masks.terms.round
    try:
        sums = decoded(opened.sums, len(members), recipe)
        return following(recipe, action, number, current, state, sums, total)
    except (KeyError, ValueError):
        raise RunError(f"masks: what came back as the sum of round {opened.round} does not fit this model") from None


def check_sum(opened: OpenedSum, masks: MarketMasks) -> None:
    """Raise :class:`RunError` unless this is the sum that ``masks`` was told of, if it opened its shares.

    Under the masks it is the very total whose digest came before the shares were given away. Nobody knew the masks
    then, so a server can be wrong about the sum, but cannot choose what it will have been.
    """
    announcements = {name: masks.announcements[name] for name in masks.members or []}
    terms = Terms(masks.terms.run, masks.terms.action, masks.terms.round, masks.context)
    total = with_masks(opened.sums, terms, announcements, opened.over, opened.secrets)  # checks the secrets
    if masks.opened is not None and (list(opened.over) != masks.opened or digest(total) != masks.total):
        raise RunError(f"masks: what came back as the sum of round {opened.round} is not the sum that was opened")


def check_follows(expected: Mapping[str, Array], received: Mapping[str, Array], what: str) -> None:
    """Raise :class:`RunError` unless the parameters received are those expected, but for the last bits."""
    alike = set(expected) == set(received) and all(
        expected[name].shape == received[name].shape
        and np.allclose(received[name], expected[name], rtol=_RELATIVE, atol=_ABSOLUTE)
        for name in expected
    )
    if not alike:
        raise RunError(f"masks: the parameters received do not follow from {what}; nothing is answered")


def told_apart(sets: Sequence[Sequence[str]]) -> str | None:
    """A market that sums over these sets of markets tell from all others; None where there is none.

    Markets that are in the same sums stay together: no difference of sums is one market's own (batch partitioning, So
    et al. 2023, over all sums of one market's data).
    """
    groups: dict[tuple[bool, ...], list[str]] = {}
    for market in sorted({name for names in sets for name in names}):
        groups.setdefault(tuple(market in names for names in sets), []).append(market)
    return next((group[0] for group in groups.values() if len(group) == 1), None)


def kept_together(before: Sequence[str], came: Sequence[str], weights: Mapping[str, float]) -> list[str]:
    """Which of the markets that ``came`` are summed after a sum over ``before``: all that do not tell one apart.

    Where one alone is missing, another stays out with it: the one of the least weight.
    """
    missing = set(before) - set(came)
    if len(missing) != 1:
        return sorted(came)
    left_out = min(sorted(came), key=lambda name: weights[name], default=None)
    return sorted(set(came) - {left_out})
