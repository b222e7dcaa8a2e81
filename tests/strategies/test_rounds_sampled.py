"""How often each market is asked."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.strategies.sampling import rounds_sampled, sample_markets


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.sampled_from([0.2, 0.5, 1.0]), st.integers(0, 50), st.integers(0, 12))
def test_the_rounds_of_each_market_are_counted(count, participation, seed, rounds):
    """Rounds are numbered from one, as the coordinator's; a market that is never asked is named with 0."""
    markets = [f"m{index}" for index in range(count)]
    counts = rounds_sampled(markets, participation, seed, rounds)
    samples = [sample_markets(markets, participation, seed, number + 1) for number in range(rounds)]
    assert counts == {market: sum(market in sample for sample in samples) for market in markets}
    if participation == 1:
        assert counts == dict.fromkeys(markets, rounds)
