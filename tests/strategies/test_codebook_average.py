"""The strategy of common codebooks: a pooled step of k-means, and replies that must leave no trace."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedrec.exchange.declaration import CODEBOOK, VALIDATE_CODEBOOK
from fedrec.recipe import Recipe, load_recipe
from fedrec.strategies import shared_average
from fedrec.strategies.codebook_average import CodebookAverage

NODES = {"alfa": 1, "bravo": 2, "charlie": 3, "delta": 4}
SIZES, D = (5, 3), 4
Arrays = dict[str, np.ndarray]


def recipe(*overrides: str) -> Recipe:
    own = [f"codes.global_levels={list(SIZES)}", f"codes.dimension={D}", "codes.dead=keep", "federation.quorum=0.5"]
    return load_recipe("fedmm", [*own, *overrides])


def shared(seed: int = 0) -> Arrays:
    """What a round starts from: parameters of an encoder, and a codebook for each level."""
    generator = np.random.default_rng(seed)
    arrays = {
        "decoder.weight": generator.standard_normal((3, D)),
        "encoder.bias": generator.standard_normal(D),
        "encoder.weight": generator.standard_normal((D, 3)),
        **{f"codebook.{level}": generator.standard_normal((size, D)) for level, size in enumerate(SIZES)},
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def vectors(market: str, number: int = 1) -> np.ndarray:
    """A market's encoded items in a round; alfa has few, so that some codes are nobody's."""
    generator = np.random.default_rng([sorted(NODES).index(market), number])
    return generator.standard_normal(({"alfa": 3, "bravo": 20, "charlie": 7, "delta": 12}[market], D))


def nearest(vector: np.ndarray, codebook: np.ndarray) -> int:
    return min(range(len(codebook)), key=lambda code: float(((vector - codebook[code]) ** 2).sum()))


def residuals(items: np.ndarray, codebooks: list[np.ndarray]) -> list[tuple[np.ndarray, list[int]]]:
    """What each level is given, and the codes it takes."""
    result = []
    for codebook in codebooks:
        codes = [nearest(vector, codebook) for vector in items]
        result.append((items, codes))
        items = np.array([vector - codebook[code] for vector, code in zip(items, codes, strict=True)])
    return result


def codebooks_of(current: Arrays) -> list[np.ndarray]:
    return [current[f"codebook.{level}"].astype(np.float64) for level in range(len(SIZES))]


def statistics(items: np.ndarray, current: Arrays) -> Arrays:
    """Items per code and their sums, by loops."""
    arrays: Arrays = {}
    for level, (given, codes) in enumerate(residuals(items, codebooks_of(current))):
        count, total = np.zeros(SIZES[level], np.int64), np.zeros((SIZES[level], D))
        for vector, code in zip(given, codes, strict=True):
            count[code] += 1
            total[code] += vector
        arrays[f"statistics.count.{level}"] = count
        arrays[f"statistics.sum.{level}"] = total.astype(np.float32)
    return arrays


def sent(market: str, current: Arrays, number: int = 1) -> Arrays:
    """An honest reply: parameters moved a little, and what the market knows of the codes."""
    generator = np.random.default_rng([9, sorted(NODES).index(market), number])
    moved = {
        name: (array + 0.1 * generator.standard_normal(array.shape)).astype(np.float32)
        for name, array in current.items()
        if not name.startswith("codebook.")
    }
    return moved | statistics(vectors(market, number), current)


def reply(market: str, arrays: Arrays, number: int = 1, **scalars: float) -> SimpleNamespace:
    """Of a message the strategy uses its content, who sent it, and in answer to what; making one needs a running
    task."""
    told = {"weight": float(len(vectors(market))), "validation": 0.5, "loss": 1.0, "seconds": 0.1, **scalars}
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(value) for name, value in arrays.items()}),
            "scalars": MetricRecord(told),
        }
    )
    return SimpleNamespace(
        content=content,
        metadata=SimpleNamespace(src_node_id=NODES[market], group_id=str(number), message_type=CODEBOOK),
        has_error=lambda: False,
        has_content=lambda: True,
    )


@pytest.fixture(autouse=True)
def without_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions in place of Flower's messages."""
    monkeypatch.setattr(
        shared_average,
        "instruction",
        lambda node, action, number, config, arrays: SimpleNamespace(
            node=node, action=action, round=number, arrays=arrays, has_content=lambda: False
        ),
    )


def record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


def asked(strategy: CodebookAverage, current: Arrays, number: int = 1) -> list[SimpleNamespace]:
    return list(strategy.configure_train(number, record(current), ConfigRecord(), None))  # type: ignore[arg-type]


def answered(strategy: CodebookAverage, replies: list[SimpleNamespace], number: int = 1) -> Arrays:
    arrays, _ = strategy.aggregate_train(number, replies)  # type: ignore[arg-type]
    assert arrays is not None
    return {name: array.numpy() for name, array in arrays.items()}


def honest(current: Arrays, number: int = 1) -> list[SimpleNamespace]:
    return [reply(market, sent(market, current, number), number) for market in NODES]


def one_round(replies: list[SimpleNamespace], *overrides: str) -> tuple[Arrays, CodebookAverage]:
    strategy = CodebookAverage(NODES, recipe(*overrides))
    asked(strategy, shared())
    return answered(strategy, replies), strategy


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name


# an honest round


def test_markets_are_asked_for_a_round_with_all_that_is_shared():
    """And for their judgement of it in the words of codebooks."""
    strategy = CodebookAverage(NODES, recipe())
    questions = asked(strategy, shared(), 3)
    assert [(question.node, question.action, question.round) for question in questions] == [
        (node, CODEBOOK, 3) for node in NODES.values()
    ]
    assert_same({name: array.numpy() for name, array in questions[0].arrays.items()}, shared())
    judged = list(strategy.configure_evaluate(3, record(shared()), ConfigRecord(), None))  # type: ignore[arg-type]
    assert {question.action for question in judged} == {VALIDATE_CODEBOOK}


def test_the_next_codebook_is_one_step_of_k_means_over_all_markets():
    """Every level, on what the levels before leave of all vectors together; a code of nobody keeps its place."""
    current = shared()
    union = np.concatenate([vectors(market) for market in NODES])
    found, _ = one_round(honest(current))
    empty = 0
    for level, (given, codes) in enumerate(residuals(union, codebooks_of(current))):
        for code in range(SIZES[level]):
            own = [vector for vector, other in zip(given, codes, strict=True) if other == code]
            expected = np.mean(own, axis=0) if own else current[f"codebook.{level}"][code]
            np.testing.assert_allclose(found[f"codebook.{level}"][code], expected, rtol=0, atol=1e-6)
            empty += not own
        assert found[f"codebook.{level}"].dtype == np.float32
    assert set(found) == set(current)
    assert empty < sum(SIZES)


def test_a_code_that_nobody_has_keeps_its_vector():
    current = shared()
    current["codebook.0"][2] = 100.0
    strategy = CodebookAverage(NODES, recipe())
    asked(strategy, current)
    found = answered(strategy, honest(current))
    assert found["codebook.0"][2].tobytes() == current["codebook.0"][2].tobytes()
    assert (found["codebook.0"][[0, 1, 3, 4]] != current["codebook.0"][[0, 1, 3, 4]]).any(axis=1).all()


@pytest.mark.parametrize("weights", ["interactions", "uniform", "square_root"])
def test_parameters_are_the_weighted_mean(weights):
    """By items of the markets: 3, 20, 7 and 12. Codebooks are never averaged, however markets are weighted."""
    current = shared()
    found, _ = one_round(honest(current), f"federation.weights={weights}")
    plain, _ = one_round(honest(current))
    power = {"interactions": 1.0, "uniform": 0.0, "square_root": 0.5}[weights]
    counts = [float(len(vectors(market))) ** power for market in NODES]
    for name in ("decoder.weight", "encoder.bias", "encoder.weight"):
        updates = [sent(market, current)[name].astype(np.float64) for market in NODES]
        np.testing.assert_allclose(found[name], np.average(updates, axis=0, weights=counts), rtol=0, atol=1e-6)
    for level in range(len(SIZES)):
        assert found[f"codebook.{level}"].tobytes() == plain[f"codebook.{level}"].tobytes()


@pytest.mark.parametrize("dead", ["keep", "reseed"])
def test_the_order_of_replies_does_not_matter(dead):
    replies = honest(shared())
    found = [one_round(list(order), f"codes.dead={dead}")[0] for order in itertools.permutations(replies)]
    assert len(found) == 24
    for other in found[1:]:
        assert_same(other, found[0])


def test_the_servers_optimiser_moves_parameters_alone():
    """What it makes of them is another mean; codebooks are what the counts and sums say."""
    plain, _ = one_round(honest(shared()))
    found, _ = one_round(honest(shared()), "aggregator.kind=fedadam")
    for name, array in found.items():
        assert (array.tobytes() == plain[name].tobytes()) == name.startswith("codebook.")


def test_dead_codes_move_and_the_round_decides_where():
    """Two codes far from everything: beside the busiest, at most half of whose items they take. Again the same for the
    same round, elsewhere in another, and never the same for two codes."""
    current = shared()
    current["codebook.0"][[1, 3]] = [[50.0], [-50.0]]
    found = []
    for number in (1, 1, 2):
        strategy = CodebookAverage(NODES, recipe("codes.dead=reseed"))
        asked(strategy, current, number)
        replies = [reply(market, sent(market, current), number) for market in NODES]
        found.append(answered(strategy, replies, number)["codebook.0"])
    assert np.array_equal(found[0], found[1])
    kept = [0, 2, 4]
    assert np.array_equal(found[0][kept], found[2][kept])
    for dead in (1, 3):
        assert not np.array_equal(found[0][dead], found[2][dead])
        assert min(np.linalg.norm(found[0][dead] - found[0][code]) for code in kept) < 1
    assert not np.array_equal(found[0][1], found[0][3])


# replies that cannot be


def changed(**arrays: object) -> Arrays:
    """The second market's reply with some arrays replaced (by a function of what they were), added or left out."""
    result = sent("bravo", shared())
    for key, change in arrays.items():
        name = key.replace("__", ".")
        value = change(result[name]) if callable(change) else change  # type: ignore[operator]
        if value is None:
            del result[name]
        else:
            result[name] = value
    return result


def with_first(value: float):
    def change(array: np.ndarray) -> np.ndarray:
        result = array.copy()
        result.flat[0] = value
        return result

    return change


COUNT, SUM = "statistics__count__0", "statistics__sum__0"
LIES = {
    "nan-sum": {SUM: with_first(np.nan)},
    "infinite-sum": {SUM: with_first(np.inf)},
    "negative-count": {COUNT: with_first(-1)},
    "negative-count-of-another-level": {"statistics__count__1": with_first(-2)},
    "huge-count": {COUNT: with_first(2**40)},
    "short-count": {COUNT: lambda count: count[:-1]},
    "wide-sum": {SUM: lambda total: np.concatenate([total, total], axis=1)},
    "flat-sum": {SUM: lambda total: total.ravel()},
    "empty-count": {COUNT: lambda count: count[:0]},
    "no-count": {COUNT: lambda _: None},
    "no-sum": {"statistics__sum__1": lambda _: None},
    "no-statistics": {f"statistics__{part}__{level}": lambda _: None for part in ("count", "sum") for level in (0, 1)},
    "one-level-more": {
        "statistics__count__2": np.ones(3, np.int64),
        "statistics__sum__2": np.ones((3, D), np.float32),
    },
    "another-statistic": {"statistics__secret": np.ones(3, np.float32)},
    "a-codebook": {"codebook__0": np.zeros((5, D), np.float32)},
    "sum-without-items": {COUNT: lambda count: count * 0},
    "too-long-sum": {SUM: lambda total: total * 1e6},
    "int32-count": {COUNT: lambda count: count.astype(np.int32)},
    "float-count": {COUNT: lambda count: count.astype(np.float64)},
    "double-sum": {SUM: lambda total: total.astype(np.float64)},
    "nan-parameter": {"encoder__bias": with_first(np.nan)},
    "no-parameter": {"encoder__bias": lambda _: None},
    "wrong-parameter": {"encoder__weight": lambda weight: weight.T},
    "far-parameter": {"encoder__bias": lambda bias: bias + np.float32(1e6)},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("dead", ["keep", "reseed"])
def test_a_reply_that_cannot_be_leaves_no_trace(lie, dead):
    """It is refused in words, and the round is to the last bit the one in which that market did not answer; so is the
    next one, on moving averages."""
    current = shared()
    others = [one for one in honest(current) if one.metadata.src_node_id != NODES["bravo"]]
    overrides = (f"codes.dead={dead}", "codes.decay=0.5")
    expected, silent = one_round(others, *overrides)
    found, lied = one_round([*others, reply("bravo", changed(**LIES[lie]))], *overrides)
    ((market, reason),) = [(rejection.market, rejection.reason) for rejection in lied.outcome.rejected]
    assert market == "bravo"
    assert reason
    assert "no reply" not in reason
    assert lied.outcome.accepted == silent.outcome.accepted == ("alfa", "charlie", "delta")
    assert_same(found, expected)
    assert_same(lied.state(), silent.state())
    for strategy in (silent, lied):
        asked(strategy, expected, 2)
    assert_same(*(answered(strategy, honest(expected, 2), 2) for strategy in (lied, silent)))


@pytest.mark.parametrize(
    ("scalars", "number"),
    [
        ({"weight": 0.0}, 1),
        ({"weight": float("nan")}, 1),
        ({"validation": 1.5}, 1),
        ({"secret": 1.0}, 1),
        ({}, 7),
    ],
)
def test_words_that_cannot_be_leave_no_trace(scalars, number):
    """Scalars out of their range, one that is not declared, an answer to another round."""
    current = shared()
    others = [one for one in honest(current) if one.metadata.src_node_id != NODES["bravo"]]
    expected, _ = one_round(others)
    found, lied = one_round([*others, reply("bravo", sent("bravo", current), number, **scalars)])
    assert [rejection.market for rejection in lied.outcome.rejected] == ["bravo"]
    assert_same(found, expected)


def test_the_honest_reply_that_the_lies_are_made_of_is_accepted():
    """Else the tests above would refuse it for another reason. It makes a difference, too."""
    current = shared()
    others = [one for one in honest(current) if one.metadata.src_node_id != NODES["bravo"]]
    without, _ = one_round(others)
    found, strategy = one_round([*others, reply("bravo", changed())])
    assert strategy.outcome.rejected == ()
    assert all(found[name].tobytes() != array.tobytes() for name, array in without.items())


def test_too_few_replies_change_nothing():
    """Below the quorum a round is skipped, moving averages included."""
    strategy = CodebookAverage(NODES, recipe("federation.quorum=1", "codes.decay=0.5"))
    asked(strategy, shared())
    before = strategy.state()
    assert strategy.aggregate_train(1, honest(shared())[:3]) == (None, None)  # type: ignore[arg-type]
    assert strategy.outcome.shared is None
    assert_same(strategy.state(), before)


# going on


def rounds(strategy: CodebookAverage, current: Arrays, numbers: range) -> Arrays:
    for number in numbers:
        asked(strategy, current, number)
        current = answered(strategy, honest(current, number), number)
    return current


@pytest.mark.parametrize("dead", ["keep", "reseed"])
@pytest.mark.parametrize("kind", ["mean", "fedadam"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_going_on_from_a_saved_state_changes_nothing(dead, kind, stop):
    """Five rounds in one process, and the same five with another from round ``stop`` on: to the last bit."""
    overrides = (f"codes.dead={dead}", f"aggregator.kind={kind}", "codes.decay=0.8")
    expected = rounds(CodebookAverage(NODES, recipe(*overrides)), shared(), range(1, 6))
    first = CodebookAverage(NODES, recipe(*overrides))
    current = rounds(first, shared(), range(1, stop + 1))
    saved = {name: np.array(array) for name, array in first.state().items()}
    rounds(first, current, range(stop + 1, 4))  # what is saved stays as it was
    other = CodebookAverage(NODES, recipe(*overrides))
    rounds(other, shared(3), range(1, 3))  # what it did before is forgotten
    other.restore(saved)
    assert_same(rounds(other, current, range(stop + 1, 6)), expected)


def test_moving_averages_by_loops():
    """With decay 0.8: after two rounds a code is (0.8 s1 + s2) / (0.8 n1 + n2), codes of rounds without items as they
    were told last. A market that forgets the first round gets another codebook."""
    strategy = CodebookAverage(NODES, recipe("codes.decay=0.8"))
    current, count, total = shared(), [np.zeros(size) for size in SIZES], [np.zeros((size, D)) for size in SIZES]
    for number in (1, 2):
        for level in range(len(SIZES)):
            count[level], total[level] = 0.8 * count[level], 0.8 * total[level]
        for market in NODES:
            for level, (given, codes) in enumerate(residuals(vectors(market, number), codebooks_of(current))):
                for vector, code in zip(given, codes, strict=True):
                    count[level][code] += 1
                    total[level][code] += vector
        before, current = current, rounds(strategy, current, range(number, number + 1))
        for level, size in enumerate(SIZES):
            for code in range(size):
                told = (
                    total[level][code] / count[level][code] if count[level][code] else before[f"codebook.{level}"][code]
                )
                np.testing.assert_allclose(current[f"codebook.{level}"][code], told, rtol=0, atol=1e-5)
    forgetful = rounds(CodebookAverage(NODES, recipe("codes.decay=0.8")), before, range(2, 3))
    assert not np.allclose(forgetful["codebook.0"], current["codebook.0"], atol=1e-4)
