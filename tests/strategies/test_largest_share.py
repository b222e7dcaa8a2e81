"""``federation.max_share``: whatever a market says of its size, pace or items, it has no more of what is made."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.exchange.declaration import CODEBOOK, PRETRAIN
from fedrec.recipe import load_recipe
from fedrec.strategies import shared_average
from fedrec.strategies.codebook_average import CodebookAverage
from fedrec.strategies.shared_average import SharedAverage

Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def without_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions in place of Flower's messages."""
    monkeypatch.setattr(shared_average, "instruction", lambda *_: SimpleNamespace(has_content=lambda: False))


def answered(strategy: SharedAverage, current: Arrays, said: list[tuple[Arrays, dict[str, float]]]) -> Arrays:
    """What a round makes of what markets m0, m1, ... say."""
    action = CODEBOOK if isinstance(strategy, CodebookAverage) else PRETRAIN
    record = ArrayRecord({name: Array(value) for name, value in current.items()})
    list(strategy.configure_train(1, record, ConfigRecord(), None))  # type: ignore[arg-type]
    replies = [
        SimpleNamespace(
            content=RecordDict(
                {
                    "arrays": ArrayRecord({name: Array(value) for name, value in arrays.items()}),
                    "scalars": MetricRecord({"validation": 0.5, "loss": 1.0, "seconds": 0.1, **scalars}),
                }
            ),
            metadata=SimpleNamespace(src_node_id=node, group_id="1", message_type=action),
            has_error=lambda: False,
            has_content=lambda: True,
        )
        for node, (arrays, scalars) in enumerate(said)
    ]
    arrays, _ = strategy.aggregate_train(1, replies)  # type: ignore[arg-type]
    assert arrays is not None, strategy.outcome
    return {name: array.numpy() for name, array in arrays.items()}


MARKETS = st.lists(
    st.tuples(st.floats(1, 1e6), st.floats(-50, 50), st.integers(1, 10**6)), min_size=2, max_size=7
)  # weight, transfer gap, items


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    MARKETS, st.floats(0.05, 1), st.sampled_from(["nothing", "share"]), st.sampled_from(["interactions", "square_root"])
)
def test_no_market_has_more_of_an_average(
    markets: list[tuple[float, float, int]], most: float, pace: str, weights: str
) -> None:
    """Every market moves a number of its own by one: what is found of it there is its share."""
    count = len(markets)
    recipe = load_recipe(
        "fecosr", [f"federation.max_share={most}", f"federation.weights={weights}", f"pacer.scales={pace}"]
    )
    current = {"encoder.weight": np.zeros(count, np.float32)}
    said = [
        ({"encoder.weight": np.eye(count, dtype=np.float32)[place]}, {"weight": weight, "transfer_gap": gap})
        for place, (weight, gap, _) in enumerate(markets)
    ]
    strategy = SharedAverage({f"m{place}": place for place in range(count)}, recipe)
    shares = answered(strategy, current, said)["encoder.weight"]
    assert math.fsum(shares) == pytest.approx(1, abs=1e-5)
    assert max(shares) <= max(most, 1 / count) + 1e-5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MARKETS, st.floats(0.05, 1))
def test_nor_of_a_codebook(markets: list[tuple[float, float, int]], most: float) -> None:
    """All items have the first code, and each market's are at a place of their own."""
    count = len(markets)
    recipe = load_recipe(
        "fedmm",
        [f"federation.max_share={most}", "codes.global_levels=[3]", f"codes.dimension={count}", "codes.dead=keep"],
    )
    current = {"encoder.weight": np.zeros(2, np.float32), "codebook.0": np.ones((3, count), np.float32)}
    said = []
    for place, (weight, _, items) in enumerate(markets):
        sums = np.zeros((3, count), np.float32)
        sums[0, place] = items
        arrays = {
            "encoder.weight": current["encoder.weight"],
            "statistics.count.0": np.array([items, 0, 0]),
            "statistics.sum.0": sums,
        }
        said.append((arrays, {"weight": weight}))
    found = answered(CodebookAverage({f"m{place}": place for place in range(count)}, recipe), current, said)
    shares = found["codebook.0"][0]
    assert math.fsum(shares) == pytest.approx(1, abs=1e-5)
    assert max(shares) <= max(most, 1 / count) + 1e-5
    np.testing.assert_array_equal(found["codebook.0"][1:], current["codebook.0"][1:])
    if most == 1:
        total = sum(items for _, _, items in markets)
        np.testing.assert_allclose(shares, [items / total for _, _, items in markets], atol=1e-5)
