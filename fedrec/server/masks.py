"""The server's part in masked sums: it passes on what markets have for each other, and opens the sum, never a part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedrec.errors import RunError
from fedrec.exchange.declaration import MASK_KEYS, MASK_SHARES, UNMASK
from fedrec.exchange.payload import Array
from fedrec.exchange.reply import reason_to_distrust
from fedrec.exchange.weights import weights_by_market
from fedrec.masking.following import OpenedSum, kept_together
from fedrec.masking.protocol import (
    ANNOUNCED,
    Announcement,
    Terms,
    context_of,
    default_threshold,
    read_announcement,
    secrets_of,
    without_masks,
)
from fedrec.masking.ring import Ring
from fedrec.privacy.noise import digest
from fedrec.recipe import recipe_json
from fedrec.server.federation import Federation
from fedrec.strategies.records import Answer

Texts = dict[str, list[str]]
_TRIES = 3  # to get the shares that open a sum


@dataclass
class MaskedSum:
    """One sum that is under way: who takes part, and what each has for the others."""

    federation: Federation
    terms: Terms
    weights: dict[str, float]  # of those who take part; they sum to one
    announcements: dict[str, Announcement]
    ciphers: dict[str, dict[str, str]]  # by sender, by receiver
    threshold: int
    failed: dict[str, str] = field(default_factory=dict)  # markets that dropped out on the way, and why
    opened: OpenedSum | None = None

    @classmethod
    def open(
        cls,
        federation: Federation,
        action: str,
        server_round: int,
        markets: Sequence[str],
        base: Mapping[str, Array],
        union: Sequence[str] = (),
    ) -> "MaskedSum":
        """Let ``markets`` exchange keys and shares. Raises :class:`RunError` where too few of them do.

        ``base`` and ``union``: the arrays and item keys that the question comes with, the same for all.
        """
        recipe = federation.recipe
        terms = Terms(federation.run, action, server_round)
        threshold = default_threshold(recipe.masks.threshold, len(federation.markets))  # whoever is left of them
        failed: dict[str, str] = {}
        asked = {market: {"action": [action]} for market in markets}
        came = _good(federation.ask_each(MASK_KEYS, asked, server_round), markets, MASK_KEYS, failed)
        announcements = {}
        most = federation.largest_weights(action)
        for market, answer in came.items():
            try:
                announcements[market] = read_announcement(market, answer.payload.texts)
                if float(announcements[market].weight) > most.get(market, math.inf):
                    weight = announcements.pop(market).weight
                    failed[market] = f"weight {weight} is more than the {most[market]:g} of its hello"
            except ValueError as error:
                failed[market] = str(error)
        _enough(announcements, threshold, failed)
        columns: Texts = {"action": [action], "threshold": [str(threshold)]}
        for name in ("market", *ANNOUNCED):
            columns[name] = [getattr(announcements[market], name) for market in sorted(announcements)]
        asked = dict.fromkeys(announcements, columns)
        shared = _good(
            federation.ask_each(MASK_SHARES, asked, server_round), sorted(announcements), MASK_SHARES, failed
        )
        ciphers: dict[str, dict[str, str]] = {}
        for market, answer in shared.items():
            found = {name.removeprefix("for."): text for name, text in answer.payload.texts.items()}
            if set(found) == set(announcements) - {market} and all(isinstance(text, str) for text in found.values()):
                ciphers[market] = {name: str(text) for name, text in found.items()}
            else:
                failed[market] = "masks: shares for other markets than those announced"
        _enough(ciphers, threshold, failed)
        kept = {market: announcements[market] for market in ciphers}
        sizes = {market: found.weight for market, found in kept.items()}
        weights = weights_by_market(recipe.federation.weights, sizes, recipe.federation.max_share)
        terms = replace(terms, context=context_of(recipe_json(recipe), base, union, sizes))
        return cls(federation, terms, weights, kept, ciphers, threshold, failed)

    @property
    def members(self) -> list[str]:
        """Those who take part, sorted."""
        return sorted(self.ciphers)

    def texts(self, market: str) -> Texts:
        """What the question to a market must bring along."""
        others = [name for name in self.members if name != market]
        return {
            "members": others,
            "shares": [self.ciphers[name][market] for name in others],
        }

    def kept(self, came: Sequence[str]) -> list[str]:
        """Which of those who answered are summed: without one who stays out because another dropped out."""
        return kept_together(self.federation.summed or came, came, self.weights)

    def reveal(self, totals: Mapping[str, Ring], survivors: Sequence[str]) -> dict[str, Ring]:
        """The sums of what ``survivors`` sent, without masks. Raises :class:`RunError` where too few help."""
        _enough(survivors, self.threshold, self.failed)
        question = {"action": [self.terms.action], "survivors": sorted(survivors), "total": [digest(totals)]}
        asked = dict.fromkeys(survivors, question)
        opened: dict[str, dict[str, str]] = {}
        for _ in range(_TRIES):  # markets that opened go on from this sum alone: one that nobody can read ends the run
            missing = {market: asked[market] for market in sorted(set(asked) - set(opened))}
            if not missing or len(opened) >= self.threshold:
                break
            replies = self.federation.ask_each(UNMASK, missing, self.terms.round)
            for market, answer in _good(replies, sorted(missing), UNMASK, self.failed).items():
                texts = answer.payload.texts
                opened[market] = {name.removeprefix("of."): str(text) for name, text in texts.items()}
        _enough(opened, self.threshold, self.failed)
        secret = secrets_of(self.announcements, survivors, opened, self.threshold)
        sums = without_masks(totals, self.terms, self.announcements, survivors, secret)
        self.federation.summed = sorted(survivors)
        self.opened = OpenedSum(self.terms.round, sorted(survivors), sums, secret)
        return sums


def _good(
    answers: Mapping[str, Answer], markets: Sequence[str], action: str, failed: dict[str, str]
) -> dict[str, Answer]:
    """The answers in order that can be used; the others are noted."""
    found = {}
    for market in sorted(markets):
        answer = answers.get(market)
        reason = "no reply" if answer is None else answer.error or reason_to_distrust(answer.payload, action)
        if answer is None or reason:
            failed[market] = f"{action}: {reason}"
        else:
            found[market] = answer
    return found


def _enough(present: Mapping[str, object] | Sequence[str], threshold: int, failed: Mapping[str, str]) -> None:
    if len(present) < threshold:
        first = next(iter(sorted(failed.items())), None)
        why = f"; {first[0]}: {first[1]}" if first else ""
        raise RunError(f"masks: {len(present)} markets left, {threshold} are needed; nothing is revealed{why}")
