"""Texts from elsewhere, and choices that no single market can move far."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.exchange.weights import relative_weights
from fedrec.stopping import decided_by, is_better, over_markets
from fedrec.words import cleaned


@given(st.text(max_size=300), st.integers(2, 80))
def test_a_cleaned_text_is_one_short_printable_line(text: str, longest: int) -> None:
    found = cleaned(text, longest)
    assert len(found) <= longest
    assert all(unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for one in found)
    assert "\n" not in found


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40))
def test_a_text_in_order_stays_as_it_is(text: str) -> None:
    assert cleaned(text, 40) == text


def test_megabytes_are_cut_at_once() -> None:
    assert cleaned("\x1b[2J" + "x" * 5_000_000, 20) == "[2J" + "x" * 16 + "…"


VALUES = st.lists(st.floats(0, 1), min_size=4, max_size=12)


@given(VALUES, st.floats(0, 1))
def test_no_single_market_moves_the_choice_beyond_the_others(honest: list[float], lie: float) -> None:
    assert min(honest) - 1e-12 <= over_markets([*honest, lie]) <= max(honest) + 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_below_four_markets_it_is_the_mean(values: list[float]) -> None:
    assert over_markets(values) == pytest.approx(math.fsum(values) / len(values))


@given(st.lists(st.floats(0, 1), min_size=5, max_size=9))
def test_of_five_to_nine_one_at_each_end_is_left_out(values: list[float]) -> None:
    kept = sorted(values)[1:-1]
    assert over_markets(values) == pytest.approx(math.fsum(kept) / len(kept))


def test_who_decided_is_told_when_it_was_one() -> None:
    """Three markets, a mean: a liar's 1.0 chooses the first model. Five: it does not."""
    honest = [{"b": 0.1, "c": 0.1}, {"b": 0.3, "c": 0.3}]
    offers = [{"a": 1.0, **honest[0]}, {"a": 0.0, **honest[1]}]
    assert decided_by(offers, 0) == "a"
    more = [{**one, "d": one["b"], "e": one["c"]} for one in offers]
    scores = [over_markets(one.values()) for one in more]
    assert scores.index(max(scores)) == 1
    assert decided_by(more, 1) is None


def test_a_close_choice_is_nobodys() -> None:
    """Without either market the other model wins: none of them decided it alone."""
    close = [{"a": 0.4, "b": 0.4, "c": 0.0}, {"a": 0.2, "b": 0.2, "c": 0.38}]
    assert decided_by(close, 0) is None


FIGURES = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), min_size=1)


@given(FIGURES, FIGURES, st.sampled_from("abcd"), st.floats(0, 1))
def test_a_market_that_is_silent_about_one_of_two_decides_nothing(
    figures: dict[str, float], best: dict[str, float], liar: str, says: float
) -> None:
    """Whatever it says of the other."""
    best = {name: value for name, value in best.items() if name != liar}
    without = {name: value for name, value in figures.items() if name != liar}
    assert is_better({**without, liar: says}, best) == is_better(without, best)
    assert is_better(best, {**without, liar: says}) == is_better(best, without)


SIZES = st.lists(st.floats(1, 1e9), min_size=1, max_size=10)


@given(SIZES, st.floats(0.01, 1), st.sampled_from(["interactions", "uniform", "square_root"]))
def test_no_market_weighs_more_than_the_recipe_lets_it(sizes: list[float], most: float, kind: str) -> None:
    """They sum to one; who is under the cap keeps its proportion to others under it."""
    plain, capped = relative_weights(kind, sizes), relative_weights(kind, sizes, most)
    assert math.fsum(capped) == pytest.approx(1)
    assert max(capped) <= max(most, 1 / len(sizes)) + 1e-12
    free = [place for place, weight in enumerate(capped) if weight < max(most, 1 / len(sizes)) - 1e-9]
    ratios = [capped[place] / plain[place] for place in free]
    assert all(ratio == pytest.approx(ratios[0], rel=1e-6) for ratio in ratios)
    if max(plain) <= most:
        assert capped == pytest.approx(plain)
