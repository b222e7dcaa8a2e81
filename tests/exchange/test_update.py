"""What happens to an update on its way: clipped, coded, decoded, and what is remembered of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.clients.memory import FileMemory
from fedrec.exchange.clipping import ClipSettings, ClipStage, change_norm
from fedrec.exchange.compression import Int8, Int8Settings, Int8Stage, TopK, TopKSettings, TopKStage
from fedrec.exchange.payload import Origin, Payload
from fedrec.exchange.pipeline import UpdatePipeline
from fedrec.exchange.update import update_stages
from fedrec.recipe import UpdateSettings

SHAPES = {"b.weight": (3, 4), "a.bias": (5,), "c.table": (2, 3, 2), "d.empty": (0, 3)}


def draw(seed, scale=1.0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    return {name: np.asarray(scale * generator.normal(size=shape), dtype) for name, shape in SHAPES.items()}


def moved(base, change):
    return {name: base[name] + change[name] for name in base}


def everything(arrays):
    """All numbers in one float64 vector, arrays by name."""
    return np.concatenate([np.ravel(arrays[name]).astype(np.float64) for name in sorted(arrays)])


def origin(server_round=1):
    return Origin("jp", server_round, "train.pretrain")


def received(stages, payload, base, server_round=1):
    """What the server makes of what the market's stages send; the server's own stages remember nothing."""
    market, server = stages
    sent = UpdatePipeline(market).outgoing(payload, origin(server_round))
    arrived = Payload(sent.arrays, sent.scalars, sent.texts, base)
    return UpdatePipeline(server).incoming(arrived, origin(server_round)).arrays


# clipping


def loop_norm(arrays, base):
    squares = (
        (float(after) - float(before)) ** 2
        for name in base
        for after, before in zip(arrays[name].ravel(), base[name].ravel(), strict=True)
    )
    return math.sqrt(math.fsum(squares))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 50), st.sampled_from(["outgoing", "incoming"]))
def test_clipping_shortens_and_keeps_the_direction(seed, norm, way):
    """base + min(1, norm / |change|) * change, in double precision: float32 rounds to 1.2e-7 of the numbers added."""
    base, change = draw(seed), draw(seed + 1)
    arrays = moved(base, change)
    payload = getattr(ClipStage(ClipSettings(norm=norm)), way)(Payload(arrays, base=base), origin())
    length = loop_norm(arrays, base)
    factor = min(1.0, norm / length)
    for name, start in base.items():
        expected = start.astype(np.float64) + factor * (arrays[name].astype(np.float64) - start)
        assert payload.arrays[name].dtype == np.float32
        np.testing.assert_allclose(payload.arrays[name], expected, rtol=1.2e-7)
    assert loop_norm(payload.arrays, base) == pytest.approx(min(norm, length), rel=1e-3)
    assert change_norm(arrays, base) == pytest.approx(length, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 5))
def test_clipping_twice_is_clipping_once(seed, norm):
    """The second time finds at most what rounding left above the norm."""
    base = draw(seed)
    once = ClipStage(ClipSettings(norm=norm)).outgoing(Payload(moved(base, draw(seed + 1)), base=base), origin())
    twice = ClipStage(ClipSettings(norm=norm)).incoming(once, origin())
    np.testing.assert_allclose(everything(twice.arrays), everything(once.arrays), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0, 1])
def test_a_short_change_is_left_bit_by_bit(size):
    """No change at all, and one of exactly the norm: 3-4-5, over two arrays. The sign of a zero stays, too."""
    base = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    arrays = {name: np.full(shape, -0.0, np.float32) for name, shape in SHAPES.items()}
    arrays["a.bias"][2], arrays["b.weight"][1, 1] = 3 * size, -4 * size
    clipped = ClipStage(ClipSettings(norm=5.0)).outgoing(Payload(arrays, {"weight": 3.0}, base=base), origin())
    assert {name: array.tobytes() for name, array in clipped.arrays.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    assert clipped.scalars == {"weight": 3.0}


def test_the_norm_is_of_all_arrays_together():
    """Each array's change is shorter than the norm, the whole is not: 3-4-5 again, clipped to 2.5 is 1.5 and 2."""
    zero = {"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}
    change = {"a": np.array([0, 3], np.float32), "b": np.array([-4], np.float32)}
    arrays = ClipStage(ClipSettings(norm=2.5)).outgoing(Payload(change, base=zero), origin()).arrays
    np.testing.assert_allclose(arrays["a"], [0, 1.5], rtol=1e-7)
    np.testing.assert_allclose(arrays["b"], [-2], rtol=1e-7)


def test_the_server_passes_on_what_is_no_update_of_this_model():
    """Names, shapes and types that do not fit are for the reply schema to name, not for the clip to trip over."""
    base = {"a": np.zeros(3, np.float32), "b": np.zeros(2, np.float32)}
    good = {name: np.full(value.shape, 9, np.float32) for name, value in base.items()}
    strange = [
        {},
        {"a": good["a"]},
        {**good, "c": good["a"]},
        {**good, "a": np.full((1, 3), 9, np.float32)},
        {**good, "a": np.full(1, 9, np.float32)},
        {**good, "a": np.array(["x", "y", "z"])},
        {**good, "a": np.full(3, 9, np.int64)},
        {**good, "a": np.array([1, np.nan, 1], np.float32)},
        {**good, "a": np.array([1, np.inf, 1], np.float32)},
    ]
    for arrays in strange:
        payload = Payload(arrays, base=base)
        assert ClipStage(ClipSettings(norm=1.0)).incoming(payload, origin()) is payload


def test_the_server_survives_the_largest_numbers():
    """Each array's squares have a finite sum (1.69e308), the two together have none: still no reason to stop a round.

    The types are not the model's (float64): the reply schema refuses them next, if the clip lets it.
    """
    base = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    huge = {name: np.full(1, 1.3e154) for name in base}
    ClipStage(ClipSettings(norm=1.0)).incoming(Payload(huge, base=base), origin())


def test_answers_that_are_no_updates_pass_all_stages_as_they_are():
    answer = Payload({"first": np.arange(3)}, {"users": 3.0}, {"items": ["a"]})
    stages = update_stages(UpdateSettings(clip_norm=1e-6, compression="int8"))
    pipeline = UpdatePipeline(stages)
    assert pipeline.incoming(pipeline.outgoing(answer, origin()), origin()) == answer


# codes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-6, 6))
def test_int8_is_off_by_half_a_step_at_most(seed, exponent):
    """A step is an array's largest magnitude / 127: rounding to the nearest is off by half of it, float32 aside.

    The largest itself comes back, and a number's sign is never turned.
    """
    change = draw(seed, 10**exponent)
    sent = Int8().encode(change)
    assert {name: array.dtype for name, array in sent.items() if "#" not in name} == dict.fromkeys(SHAPES, np.int8)
    decoded = Int8().decode(sent, change)
    for name, value in change.items():
        largest = float(np.abs(value).max(initial=0))
        assert decoded[name].shape == value.shape
        assert decoded[name].dtype == np.float32
        error = np.abs(decoded[name].astype(np.float64) - value)
        assert error.max(initial=0) <= largest / 127 / 2 * (1 + 1e-5)
        assert (decoded[name] * value >= 0).all()
        assert float(np.abs(decoded[name]).max(initial=0)) == pytest.approx(largest, rel=1e-6)


def test_int8_of_nothing_but_zeros():
    change = {"a": np.zeros((2, 2), np.float32)}
    np.testing.assert_array_equal(Int8().decode(Int8().encode(change), change)["a"], np.zeros((2, 2)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-4, 4), min_size=1, max_size=12), min_size=1, max_size=4),
    st.sampled_from([1 / 64, 0.25, 0.5, 0.75, 1.0]),
)
def test_top_k_keeps_the_largest_over_all_arrays(values, share):
    """By sorting (magnitude, then the earlier array by name, then the earlier place): many ties here.

    Of n numbers ceil(share n) are kept, at least one; these shares are exact in binary, and so is their product.
    """
    change = {f"m{index}": np.array(numbers, np.float32)[:, None] for index, numbers in enumerate(values)}
    places = [(name, place) for name in sorted(change) for place in range(len(change[name]))]
    ranking = sorted(places, key=lambda at: -abs(change[at[0]][at[1], 0]))  # stable
    kept = set(ranking[: math.ceil(share * len(places))])
    decoded = TopK(share).decode(TopK(share).encode(change), change)
    for name, value in change.items():
        expected = [[number[0] if (name, place) in kept else 0] for place, number in enumerate(value.tolist())]
        assert decoded[name].tolist() == expected


def test_top_k_sends_no_more_than_it_says():
    """A quarter of 29 numbers, rounded up: 8 positions and 8 values."""
    sent = TopK(0.25).encode(draw(3))
    assert sum(array.size for name, array in sent.items() if name.endswith("#index")) == 8
    assert sum(array.size for name, array in sent.items() if name.endswith("#value")) == 8
    everything_kept = TopK(1.0).decode(TopK(1.0).encode(draw(3)), draw(3))
    np.testing.assert_array_equal(everything(everything_kept), everything(draw(3)))


# decoding what cannot be trusted

LIKE = {"x": np.zeros((2, 2), np.float32), "y": np.zeros(3, np.float32)}
CODES = {
    "x": np.array([[1, -127], [0, 5]], np.int8),
    "x#scale": np.array([0.5], np.float32),
    "y": np.zeros(3, np.int8),
    "y#scale": np.array([0], np.float32),
}
SPARSE = {
    "x#index": np.array([0, 3], np.int32),
    "x#value": np.array([2, -1], np.float32),
    "y#index": np.array([], np.int32),
    "y#value": np.array([], np.float32),
}


def test_what_is_in_order_decodes():
    """Codes times scale; values at flat positions."""
    assert Int8().decode(CODES, LIKE)["x"].tolist() == [[0.5, -63.5], [0, 2.5]]
    assert TopK(0.1).decode(SPARSE, LIKE)["x"].tolist() == [[2, 0], [0, -1]]
    assert TopK(0.1).decode(SPARSE, LIKE)["y"].tolist() == [0, 0, 0]


NOT_CODES = {
    "missing": ("x#scale", None),
    "unknown": ("z", np.zeros(3, np.int8)),
    "parameters": ("x", np.zeros((2, 2), np.float32)),
    "wide": ("x", np.zeros((2, 2), np.int16)),
    "unsigned": ("x", np.zeros((2, 2), np.uint8)),
    "flat": ("x", np.zeros(4, np.int8)),
    "broadcasts": ("x", np.zeros((1, 2), np.int8)),
    "larger": ("y", np.zeros(4, np.int8)),
    "scale-nan": ("x#scale", np.array([np.nan], np.float32)),
    "scale-inf": ("x#scale", np.array([np.inf], np.float32)),
    "scale-negative": ("x#scale", np.array([-1], np.float32)),
    "scale-double": ("x#scale", np.array([1], np.float64)),
    "scale-two": ("x#scale", np.array([1, 1], np.float32)),
    "scale-scalar": ("x#scale", np.array(1, np.float32)),
    "scale-none": ("x#scale", np.array([], np.float32)),
}
NOT_SPARSE = {
    "missing": ("y#index", None),
    "unknown": ("x", np.zeros((2, 2), np.float32)),
    "index-int64": ("x#index", np.array([0, 3], np.int64)),
    "index-float": ("x#index", np.array([0, 3], np.float32)),
    "index-bool": ("x#index", np.array([True, True])),
    "value-double": ("x#value", np.array([2, -1], np.float64)),
    "fewer-values": ("x#value", np.array([2], np.float32)),
    "more-values": ("x#value", np.array([2, 1, 1], np.float32)),
    "table": ("x#index", np.array([[0, 3]], np.int32)),
    "beyond": ("x#index", np.array([0, 4], np.int32)),
    "largest": ("x#index", np.array([0, 2**31 - 1], np.int32)),
    "negative": ("x#index", np.array([-1, 3], np.int32)),
    "descending": ("x#index", np.array([3, 0], np.int32)),
    "twice": ("x#index", np.array([3, 3], np.int32)),
    "wraps": ("x#index", np.array([2**31 - 1, -(2**31)], np.int32)),
    "of-nothing": ("y#index", np.array([0], np.int32)),
}


@pytest.mark.parametrize(
    ("codec", "good", "name", "array"),
    [
        pytest.param(codec, good, *case, id=f"{type(codec).__name__}-{what}")
        for codec, good, cases in ((Int8(), CODES, NOT_CODES), (TopK(0.1), SPARSE, NOT_SPARSE))
        for what, case in cases.items()
    ],
)
def test_anything_else_is_a_value_error_in_words(codec, good, name, array):
    """The server takes a ``ValueError`` for a bad reply; any other exception would end the round of all markets.

    "wraps": the difference of these positions is 1 in 32 bits, which looks ascending.
    """
    sent = {key: value for key, value in {**good, name: array}.items() if value is not None}
    with pytest.raises(ValueError, match="expected|keys"):
        codec.decode(sent, LIKE)


def test_a_decoded_change_beyond_float32_is_no_warning():
    """127 * 3e38 is finite in nobody's float32: refused, or infinite for the reply schema to name; warnings are errors
    in these tests."""
    sent = {**CODES, "x#scale": np.array([3e38], np.float32)}
    try:
        decoded = Int8().decode(sent, LIKE)
    except ValueError:
        return
    assert not np.isfinite(decoded["x"]).all()


# error feedback


class DictMemory:
    """The plainest memory: all rounds."""

    def __init__(self):
        self.rounds = {}

    def load(self, server_round):
        before = [number for number in self.rounds if number < server_round]
        return self.rounds[max(before)] if before else {}

    def save(self, server_round, remainder):
        self.rounds[server_round] = remainder


@pytest.mark.parametrize(
    "stage",
    [(Int8Stage, Int8Settings()), (TopKStage, TopKSettings(share=0.1)), (TopKStage, TopKSettings(share=1 / 64))],
    ids=["int8", "top-k", "one-number"],
)
@pytest.mark.parametrize("on_disk", [True, False], ids=["disk", "memory"])
def test_with_error_feedback_nothing_is_lost_only_late(stage, on_disk, tmp_path):
    """sum over rounds of what the server decoded + the last remainder = sum of the true changes.

    Whatever the code: by induction from decoded_r + remainder_r = change_r + remainder_(r-1). Each round the market
    starts from parameters of its own, and misses some rounds. In float32, numbers of size one over 12 rounds: 1e-5.
    """
    memory = FileMemory(tmp_path) if on_disk else DictMemory()
    true, decoded = np.zeros(29), np.zeros(29)
    for server_round in (1, 2, 3, 5, 6, 10, 11, 12):
        base, change = draw(server_round), draw(100 + server_round, 0.3)
        arrays = moved(base, change)
        kind, settings_ = stage
        stages = [kind(settings_, memory)], [kind(settings_)]
        arrived = received(stages, Payload(arrays, base=base), base, server_round)
        assert {name: (array.shape, array.dtype) for name, array in arrived.items()} == {
            name: (array.shape, array.dtype) for name, array in base.items()
        }
        true += everything(arrays) - everything(base)
        decoded += everything(arrived) - everything(base)
    remainder = everything(memory.load(13))
    assert np.abs(remainder).max() > 0
    np.testing.assert_allclose(decoded + remainder, true, atol=1e-5)


def test_without_error_feedback_every_round_stands_alone():
    """What arrives is the code of this round's change: here its one largest number of 29."""
    settings_ = UpdateSettings(compression="top-k", top_share=1 / 32, error_feedback=False)
    memory = DictMemory()
    for server_round in (1, 2):
        base, change = draw(server_round), draw(50 + server_round)
        stages = update_stages(settings_, memory), update_stages(settings_)
        arrived = received(stages, Payload(moved(base, change), base=base), base, server_round)
        difference = everything(arrived) - everything(base)
        assert np.flatnonzero(difference).tolist() == [int(np.abs(everything(change)).argmax())]
    assert memory.rounds == {}


@pytest.mark.parametrize("compression", ["none", "int8", "top-k"])
def test_an_update_is_clipped_and_then_coded(compression):
    """What is coded is the clipped change. Its norm is 1, so that of 29 numbers int8 (steps of at most 1 / 127) is off
    by less than sqrt(29) / 254 = .022 altogether; a share of 1 keeps every number; and the server's own clip keeps the
    norm at 1."""
    settings_ = UpdateSettings(clip_norm=1.0, compression=compression, top_share=1.0)
    base, change = draw(1, 0.1), draw(2, 10.0)
    stages = update_stages(settings_, DictMemory()), update_stages(settings_)
    arrived = everything(received(stages, Payload(moved(base, change), base=base), base)) - everything(base)
    expected = everything(change) / np.linalg.norm(everything(change))
    assert np.linalg.norm(arrived - expected) < (0.03 if compression == "int8" else 1e-5)
    assert np.linalg.norm(arrived) <= 1 + 1e-5


@pytest.mark.parametrize("compression", ["none", "int8", "top-k"])
def test_the_server_clips_what_a_market_did_not(compression):
    """The market's stages lack the clip; the server's have it."""
    unclipped = UpdateSettings(compression=compression, top_share=0.5)
    base = draw(1, 0.1)
    stages = update_stages(unclipped), update_stages(unclipped.model_copy(update={"clip_norm": 2.0}))
    arrived = received(stages, Payload(moved(base, draw(2, 10.0)), base=base), base)
    assert loop_norm(arrived, base) == pytest.approx(2.0, rel=1e-5)


def test_only_coded_numbers_travel():
    """Neither the parameters nor what they started from, but int8 codes and one scale an array."""
    base = draw(1)
    sent = UpdatePipeline(update_stages(UpdateSettings(compression="int8"))).outgoing(
        Payload(moved(base, draw(2)), {"loss": 1.0}, base=base), origin()
    )
    assert set(sent.arrays) == {name + suffix for name in SHAPES for suffix in ("", "#scale")}
    assert sum(array.nbytes for array in sent.arrays.values()) == 29 + 4 * len(SHAPES)
    assert sent.scalars == {"loss": 1.0}


# the market's memory


def note(number):
    return {"a": np.full((2, 3), number, np.float32), "b.c": np.array([number], np.float32)}


def remembered(memory, server_round):
    found = memory.load(server_round)
    return float(found["a"][0, 0]) if found else None


def test_memory_gives_the_latest_round_before(tmp_path):
    memory = FileMemory(tmp_path / "jp")
    assert memory.load(1) == {}
    for number in (2, 9, 10):
        memory.save(number, note(number))
    assert [remembered(FileMemory(tmp_path / "jp"), number) for number in (1, 2, 3, 9, 10, 11, 500)] == [
        None, None, 2, 2, 9, 10, 10,
    ]  # fmt: skip
    loaded = memory.load(11)
    assert {name: (array.shape, array.dtype) for name, array in loaded.items()} == {
        "a": ((2, 3), np.float32),
        "b.c": ((1,), np.float32),
    }


def test_redoing_a_round_forgets_the_later_ones(tmp_path):
    """A run resumed from round 3 does round 4 again: 5 and 6 have not happened."""
    memory = FileMemory(tmp_path)
    for number in (3, 4, 5, 6):
        memory.save(number, note(number))
    assert remembered(memory, 4) == 3
    memory.save(4, note(44))
    assert [remembered(memory, number) for number in (4, 5, 6, 99)] == [3, 44, 44, 44]


def test_memory_keeps_a_few_rounds_only(tmp_path):
    """Enough to go back two rounds of all those that were saved, however far apart, and not all of them."""
    memory = FileMemory(tmp_path)
    for number in range(1, 60, 3):
        memory.save(number, note(number))
    assert [remembered(memory, number) for number in (59, 58, 55)] == [58, 55, 52]
    assert 3 <= len(list(tmp_path.iterdir())) <= 6


def test_rounds_of_different_lengths_are_in_order(tmp_path):
    """99 999 comes before 100 000, the largest number of rounds that a recipe may ask for."""
    memory = FileMemory(tmp_path)
    for number in (9, 10, 99_999, 100_000):
        memory.save(number, note(number))
    assert [remembered(memory, number) for number in (10, 100_000, 100_001)] == [9, 99_999, 100_000]


def test_what_is_remembered_need_not_be_contiguous(tmp_path):
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    FileMemory(tmp_path).save(1, {"a": table.T, "b": table[:, ::2]})
    loaded = FileMemory(tmp_path).load(2)
    assert loaded["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert loaded["b"].tolist() == [[0, 2], [3, 5]]
