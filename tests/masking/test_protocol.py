"""Masked sums among seven markets: exact, whoever drops out at whatever step; closed beyond the threshold."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from scipy import stats

from fedrec.errors import RunError
from fedrec.masking.protocol import (
    ANNOUNCED,
    MarketMasks,
    Terms,
    context_of,
    default_threshold,
    read_announcement,
    unmask,
)
from fedrec.masking.ring import Ring, fitting

NAMES = ["ca", "de", "fr", "in", "jp", "mx", "uk"]
TERMS = Terms("run", "train.pretrain", 3)
FORM = fitting(7, 16.0)
IDENTITIES = {name: ec.generate_private_key(ec.SECP384R1()) for name in NAMES}
KNOWN = {name: key.public_key() for name, key in IDENTITIES.items()}
VALUES = {name: np.random.default_rng(place).normal(size=(4, 5)) for place, name in enumerate(NAMES)}
STEPS = ("keys", "shares", "masked", "open")


@dataclass
class Sum:
    """All that a server sees of one sum."""

    parts: dict[str, MarketMasks]
    announcements: dict
    uploads: dict[str, dict[str, Ring]]
    threshold: int

    def reveal(self, survivors: list[str], helpers: list[str]) -> dict[str, np.ndarray]:
        totals = {"w": np.sum([self.uploads[name]["w"] for name in survivors], axis=0, dtype=FORM.dtype)}
        opened = {name: self.parts[name].open(survivors) for name in helpers}
        assert not any(self.parts[name].shares for name in helpers)  # nothing is left to open
        found = unmask(totals, TERMS, self.announcements, survivors, opened, self.threshold)
        return {name: FORM.decode(total) for name, total in found.items()}


def agree(gone: Mapping[str, str] = {}, terms: Terms = TERMS) -> Sum:
    """The sum up to the uploads; ``gone``: at which step a market drops out."""
    threshold = default_threshold(0.7, len(NAMES))
    parts = {name: MarketMasks.begin(name, terms) for name in NAMES if gone.get(name) != "keys"}
    announced = [part.announce(IDENTITIES[name], 1.0) for name, part in parts.items()]
    ciphers = {
        name: part.share(announced, KNOWN, threshold) for name, part in parts.items() if gone.get(name) != "shares"
    }
    uploads = {}
    for name in ciphers:
        if gone.get(name) != "masked":
            received = {other: found[name] for other, found in ciphers.items() if other != name}
            parts[name] = MarketMasks.from_json(parts[name].to_json())  # as after a message
            uploads[name] = parts[name].mask({"w": FORM.encode(VALUES[name])}, received)
    return Sum(parts, {part.market: part for part in announced if part.market in ciphers}, uploads, threshold)


def without(count: int, step: str) -> dict[str, str]:
    return dict.fromkeys(["de", "uk", "in"][:count], step)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_sum_is_that_of_those_who_came(count, step):
    gone = without(count, step)
    made = agree(gone)
    survivors = sorted(made.uploads)
    assert len(survivors) == 7 - (0 if step == "open" else count)
    found = made.reveal(survivors, [name for name in survivors if gone.get(name) != "open"])
    expected = np.sum([VALUES[name] for name in survivors], axis=0)
    assert np.abs(found["w"] - expected).max() <= len(survivors) * FORM.step / 2 + 1e-12


@pytest.mark.parametrize("step", STEPS)
def test_beyond_the_threshold_nothing_is_revealed(step):
    with pytest.raises(RunError, match="are needed|is refused"):
        try_to_reveal(without(3, step))


def try_to_reveal(gone: dict[str, str]) -> None:
    made = agree(gone)
    made.reveal(sorted(made.uploads), [name for name in made.uploads if gone.get(name) != "open"])


def test_drops_at_different_steps_together():
    made = agree({"de": "shares", "uk": "masked"})
    survivors = sorted(made.uploads)
    found = made.reveal(survivors, survivors)
    assert np.allclose(found["w"], np.sum([VALUES[name] for name in survivors], axis=0), atol=7 * FORM.step)


def test_one_upload_is_uniform_whatever_it_hides():
    """Its bytes are spread evenly, and say nothing of the numbers: those of zeros look the same."""
    part = MarketMasks.begin("jp", TERMS)
    parts = {"jp": part, "de": MarketMasks.begin("de", TERMS)}
    announced = [found.announce(IDENTITIES[name], 1.0) for name, found in parts.items()]
    ciphers = {name: found.share(announced, KNOWN, 2) for name, found in parts.items()}
    plain = FORM.encode(np.full(200_000, 0.25))
    seen = part.mask({"w": plain}, {"de": ciphers["de"]["jp"]})["w"]
    assert stats.chisquare(np.bincount(seen.view(np.uint8), minlength=256)).pvalue > 1e-6
    assert stats.chisquare(np.bincount((seen - plain).view(np.uint8), minlength=256)).pvalue > 1e-6
    assert len(np.unique(seen)) > 199_000  # two hundred thousand equal numbers became as many different ones
    assert abs(stats.pearsonr(seen[:-1].astype(float), seen[1:].astype(float)).statistic) < 0.02


def test_sums_of_less_than_the_threshold_stay_masked():
    """What the server can add by itself, without the markets' shares, is nowhere near the sum."""
    made = agree()
    total = FORM.decode(np.sum([made.uploads[name]["w"] for name in NAMES], axis=0, dtype=FORM.dtype))
    assert np.abs(total).max() > 100


def test_masks_of_one_round_are_of_no_use_in_another():
    first, second = agree(), agree(terms=replace(TERMS, round=4))
    assert not np.array_equal(first.uploads["jp"]["w"], second.uploads["jp"]["w"])
    stolen = {name: replace(found) for name, found in first.announcements.items()}
    fresh = MarketMasks.begin("jp", replace(TERMS, round=4))
    own = fresh.announce(IDENTITIES["jp"], 1.0)
    with pytest.raises(RunError, match="not signed by its key"):
        fresh.share([own, *(found for name, found in stolen.items() if name != "jp")], KNOWN, 5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda found: [replace(found[0], masking=found[1].masking), *found[1:]], "not signed by its key"),
        (lambda found: [*found, found[0]], "announced itself twice"),
        (lambda found: found[1:], "own announcement"),
        (lambda found: [*found, replace(found[1], market="xx")], "no key of market 'xx'"),
        (lambda found: found[:4], "threshold of 5 of 4"),
    ],
)
def test_what_a_market_does_not_share_with(change, complaint):
    parts = {name: MarketMasks.begin(name, TERMS) for name in NAMES}
    announced = [part.announce(IDENTITIES[name], 1.0) for name, part in parts.items()]
    with pytest.raises(RunError, match=complaint):
        parts["ca"].share(change(announced), KNOWN, 5)


def test_masks_hide_one_thing_and_open_to_one_set():
    made = agree()
    ciphers = made.parts["jp"]
    with pytest.raises(RunError, match="something else was sent"):
        ciphers.mask({"w": FORM.encode(VALUES["jp"] + 1)}, {})
    for survivors in (NAMES[:4], ["ca", "de", "fr", "in", "uk"], [*NAMES, "xx"]):  # too few, without itself, a stranger
        with pytest.raises(RunError, match="is refused"):
            ciphers.open(survivors)
    with pytest.raises(RunError, match="nothing was masked"):
        MarketMasks.begin("jp", TERMS).open(NAMES)


def test_no_answer_holds_both_kinds_of_share_of_a_market():
    """The seeds of those who came and the keys of those who did not: with both, an upload would be bare."""
    made = agree({"de": "masked"})
    survivors = sorted(made.uploads)
    held = made.parts["jp"].shares
    opened = made.parts["jp"].open(survivors)
    assert made.parts["jp"].open(survivors) == opened  # as after a lost answer
    with pytest.raises(RunError, match="opened before, over other markets"):
        made.parts["jp"].open([name for name in survivors if name != "uk"])
    with pytest.raises(RunError, match="something else was sent"):
        made.parts["jp"].mask({"w": FORM.encode(VALUES["jp"])}, {})
    assert {name for name in opened if opened[name] == held[name]["key"]} == {"de"}
    assert {name for name in opened if opened[name] == held[name]["seed"]} == set(survivors)


def false(share: str) -> str:
    """Of the right length and for the right market, but another point (a change of one byte may cancel by chance)."""
    return share[:8] + hashlib.shake_256(share.encode()).hexdigest(len(share[8:]) // 2)


@pytest.mark.parametrize("lie", [false, lambda share: "no share", lambda share: share[:10]])
def test_false_shares_spoil_nothing_while_enough_are_true(lie):
    """Two of seven lie: five are left. Three of seven lie: the sum stays closed."""
    for liars in (["ca", "de"], ["ca", "de", "fr"]):
        made = agree()
        totals = {"w": np.sum([made.uploads[name]["w"] for name in NAMES], axis=0, dtype=FORM.dtype)}
        opened = {name: made.parts[name].open(NAMES) for name in NAMES}
        for name in liars:
            opened[name]["jp"] = lie(opened[name]["jp"])
        if len(liars) == 2:
            found = unmask(totals, TERMS, made.announcements, NAMES, opened, 5)
            assert np.allclose(FORM.decode(found["w"]), np.sum(list(VALUES.values()), axis=0), atol=7 * FORM.step)
        else:
            with pytest.raises(RunError, match="do not fit what it announced"):
                unmask(totals, TERMS, made.announcements, NAMES, opened, 5)


def test_a_market_that_was_told_something_else_spoils_the_sum():
    """Weights, parameters or items that the server changes for one market alone: what comes out is noise."""
    threshold = 5
    parts = {name: MarketMasks.begin(name, TERMS) for name in NAMES}
    announced = [part.announce(IDENTITIES[name], 1.0) for name, part in parts.items()]
    ciphers = {name: part.share(announced, KNOWN, threshold) for name, part in parts.items()}
    weights = dict.fromkeys(NAMES, "1.0")
    told = context_of("{}", {"w": np.zeros(3)}, ["a"], weights)
    others = [
        context_of("{}", {"w": np.ones(3)}, ["a"], weights),
        context_of("{}", {"w": np.zeros(3)}, ["a", "b"], weights),
        context_of("{}", {"w": np.zeros(3)}, ["a"], {**weights, "jp": "9.0"}),
        context_of("{ }", {"w": np.zeros(3)}, ["a"], weights),
    ]
    assert len({told, *others}) == 5
    total = np.zeros((4, 5), FORM.dtype)
    for name in NAMES:
        received = {other: found[name] for other, found in ciphers.items() if other != name}
        context = others[0] if name == "jp" else told
        total = total + parts[name].mask({"w": FORM.encode(VALUES[name])}, received, context)["w"]
    opened = {name: parts[name].open(NAMES) for name in NAMES}
    announcements = {part.market: part for part in announced}
    found = unmask({"w": total}, replace(TERMS, context=told), announcements, NAMES, opened, threshold)
    assert np.abs(FORM.decode(found["w"])).max() > 100


@pytest.mark.parametrize("change", [{"masking": "junk"}, {"signature": "zz"}, {"weight": "0"}, {"weight": "nan"}])
def test_an_announcement_that_cannot_be_is_refused(change):
    own = MarketMasks.begin("jp", TERMS).announce(IDENTITIES["jp"], 3.0)
    texts = {name: getattr(own, name) for name in ANNOUNCED}
    assert read_announcement("jp", texts) == own
    with pytest.raises(ValueError, match="an announcement that cannot be"):
        read_announcement("jp", {**texts, **change})


@pytest.mark.parametrize(("markets", "threshold"), [(2, 2), (3, 3), (4, 3), (5, 4), (7, 5), (10, 7), (20, 14)])
def test_the_threshold_is_a_share_of_the_markets_and_more_than_half(markets, threshold):
    assert default_threshold(0.7, markets) == threshold
    assert default_threshold(0.51, markets) > markets / 2
