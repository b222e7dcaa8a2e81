"""What the server demands of a reply before it may touch the average."""

import math

import numpy as np
import pytest

from fedrec.exchange.payload import Payload
from fedrec.exchange.reply import WEIGHT_CAP, ReplySchema

CURRENT = {
    "adaptor.scale": np.array(1.0, dtype=np.float32),
    "encoder.bias": np.array([1.0, -2.0, 0.5], dtype=np.float32),
    "encoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
}
SCHEMA = ReplySchema(CURRENT, norm_bound=10.0)


def arrays(**changes):
    """A good update, with some entries replaced (names with _ for .); None removes one."""
    update = {name: value + np.float32(0.1) for name, value in CURRENT.items()}
    for name, value in changes.items():
        key = name.replace("_", ".")
        if value is None:
            del update[key]
        else:
            update[key] = value
    return update


def reason(update, interactions=7.0, schema=SCHEMA):
    return schema.reason_to_reject(Payload(arrays=update, scalars={"weight": interactions, "loss": 1.0}))


def assert_rejected(answer):
    assert isinstance(answer, str)
    assert answer.strip()
    assert "\n" not in answer


@pytest.mark.parametrize("interactions", [1, 1.0, 0.5, WEIGHT_CAP])
def test_accepts_a_good_reply(interactions):
    assert reason(arrays(), interactions) is None


def test_accepts_a_market_that_did_not_move():
    assert reason(dict(CURRENT)) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["encoder_bias", "adaptor_scale"])
def test_rejects_what_is_not_finite(value, name):
    bad = CURRENT[name.replace("_", ".")].copy()
    bad[...] = value
    assert_rejected(reason(arrays(**{name: bad})))
    one = CURRENT["encoder.bias"].copy()
    one[2] = value
    assert_rejected(reason(arrays(encoder_bias=one)))


@pytest.mark.parametrize("shape", [(1,), (), (2,), (4,), (1, 3), (3, 1), (0,)])
def test_rejects_another_shape_even_one_that_broadcasts(shape):
    """NumPy would silently stretch (1,) and () over (3,)."""
    assert_rejected(reason(arrays(encoder_bias=np.ones(shape, dtype=np.float32))))


def test_rejects_another_shape_of_the_same_size():
    assert_rejected(reason(arrays(encoder_weight=CURRENT["encoder.weight"].T.copy())))
    assert_rejected(reason(arrays(encoder_weight=CURRENT["encoder.weight"].ravel())))
    assert_rejected(reason(arrays(adaptor_scale=np.ones(1, dtype=np.float32))))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_, np.complex64, object, "U1"])
def test_rejects_another_type(dtype):
    assert_rejected(reason(arrays(encoder_bias=np.ones(3).astype(dtype))))


def test_rejects_a_missing_or_unknown_key():
    assert_rejected(reason(arrays(encoder_bias=None)))
    assert_rejected(reason({}))
    assert_rejected(reason({**arrays(), "adaptation.identity": np.zeros(3, dtype=np.float32)}))
    renamed = {**arrays(encoder_bias=None), "encoder.biass": CURRENT["encoder.bias"]}
    assert_rejected(reason(renamed))


@pytest.mark.parametrize(
    "interactions", [0.0, -0.0, -1.0, -math.inf, math.inf, math.nan, np.nextafter(WEIGHT_CAP, math.inf), 1e300]
)
def test_rejects_a_weight_outside_zero_to_the_cap(interactions):
    assert_rejected(reason(arrays(), interactions))


def test_rejects_a_missing_weight():
    assert_rejected(SCHEMA.reason_to_reject(Payload(arrays=arrays())))


@pytest.mark.parametrize(("length", "accepted"), [(9.9, True), (10.1, False), (1e30, False)])
def test_norm_bound_holds_for_the_whole_change(length, accepted):
    """The L2 norm of the change over all arrays together; here two arrays share it as 3 : 4 (3-4-5 triangle)."""
    update = {name: value.copy() for name, value in CURRENT.items()}
    update["encoder.bias"][1] += np.float32(0.6 * length)
    update["encoder.weight"][0, 2] += np.float32(0.8 * length)
    answer = reason(update)
    if accepted:
        assert answer is None
    else:
        assert_rejected(answer)


def test_norm_is_of_the_change_not_of_the_parameters():
    """Parameters of norm 1000 that hardly move are in order."""
    current = {"encoder.x": np.full(100, 100.0, dtype=np.float32)}
    update = {"encoder.x": np.full(100, 100.5, dtype=np.float32)}
    assert reason(update, schema=ReplySchema(current, 10.0)) is None


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 3e38), (np.float64, 1e200), (np.float16, 6e4)])
def test_a_change_whose_square_overflows_is_rejected_without_a_warning(dtype, value):
    """Finite values, but the sum of squares is beyond the type: warnings are errors in these tests."""
    current = {"encoder.x": np.zeros(4, dtype=dtype)}
    update = {"encoder.x": np.full(4, value, dtype=dtype)}
    assert_rejected(reason(update, schema=ReplySchema(current, 10.0)))


def test_a_difference_that_overflows_is_rejected_without_a_warning():
    """-3e38 to 3e38: the difference itself is beyond float32."""
    current = {"encoder.x": np.full(4, -3e38, dtype=np.float32)}
    update = {"encoder.x": np.full(4, 3e38, dtype=np.float32)}
    assert_rejected(reason(update, schema=ReplySchema(current, 10.0)))


def test_the_reason_names_what_is_wrong():
    assert "encoder.bias" in reason(arrays(encoder_bias=np.full(3, np.nan, dtype=np.float32)))
    assert "encoder.bias" in reason(arrays(encoder_bias=np.ones(1, dtype=np.float32)))
    assert "encoder.bias" in reason(arrays(encoder_bias=None))
