"""Training pointwise models: what a batch holds, how ranks are made, which state is kept, and the steps of FOREC."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from scipy import sparse
from torch import nn

from fedrec.data.sequences import Sequences
from fedrec.data.store import open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import RunError
from fedrec.models.pointwise.forec import Forec
from fedrec.models.pointwise.interface import PointwiseModel, Request, Sizes
from fedrec.models.pointwise.neumf import NeuMF
from fedrec.simulation.table3.ground import Ground
from fedrec.training import forec
from fedrec.training.forec import _STEP, _accumulate
from fedrec.training.pointwise import (
    Settings,
    candidate_ranks,
    draw_negatives,
    fit,
    labelled_batches,
    validation,
)
from fedrec.training.similarities import across_markets, within_market


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    data = tmp_path_factory.mktemp("pointwise") / "data"
    write_synthetic_markets(data, SynthSettings(markets=("alfa", "bravo"), users=50, items=230, topics=8, seed=5))
    names = tuple(store.name for store in open_stores(data))
    return Ground(data, 0, names, data, Settings(batch_size=100, epochs=2))


def sequences(histories: list[list[int]], items: int) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    flat = np.array([item for history in histories for item in history], np.int64)
    return Sequences(offsets, flat, np.zeros(len(flat), np.int64), items)


@given(
    histories=strategies.lists(
        strategies.lists(strategies.integers(0, 8), min_size=1, max_size=6), min_size=1, max_size=5
    ),
    seed=strategies.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_a_negative_is_never_of_its_users_own_train_items(histories: list[list[int]], seed: int) -> None:
    train = sequences(histories, 10)
    rows = np.arange(len(histories)).repeat(2)
    drawn = draw_negatives(train, rows, 7, np.random.default_rng(seed))
    assert drawn.shape == (len(rows), 7)
    assert drawn.min() >= 0
    assert drawn.max() < 10
    for row, items in zip(rows, drawn, strict=True):
        assert not set(items) & set(histories[row])


def test_a_user_with_everything_has_no_negatives() -> None:
    with pytest.raises(RunError, match="no negatives"):
        draw_negatives(sequences([[0, 1, 2], [0]], 3), np.array([1]), 2, np.random.default_rng(0))


@pytest.mark.parametrize("per_row", [1, 3])
def test_an_epoch_holds_every_train_item_once_with_its_user_and_negatives(ground: Ground, per_row: int) -> None:
    market = ground.markets[1]
    train, found = market.split.train, []
    for batch in labelled_batches(market, ground.settings, per_row, np.random.default_rng(0)):
        positive = (batch.labels == 1) & batch.counted
        assert int(batch.counted.sum()) == 5 * int(positive.sum())  # four negatives each
        users = batch.request.users[:, None].expand_as(batch.request.items)
        found += list(zip(users[positive].tolist(), batch.request.items[positive].tolist(), strict=True))
        assert batch.request.market == 1
        for user, history, length in zip(*batch.request[1:4], strict=True):
            row = int(np.flatnonzero(market.split.learners == user.item() - market.first_user)[0])
            own = train.items[train.offsets[row] : train.offsets[row + 1]][-50:]
            assert history[:length].tolist() == own.tolist()  # the target is in it: the protocol's own flaw
    expected = zip(market.split.learners[train.users] + market.first_user, train.items, strict=True)
    assert sorted(found) == sorted(expected)


class ByTable(PointwiseModel):
    """Scores from a table of users and items."""

    def __init__(self, scores: np.ndarray) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.from_numpy(scores))

    def forward(self, request: Request) -> torch.Tensor:
        return self.scores[request.users[:, None], request.items]


def test_a_rank_counts_the_candidates_above_the_target(ground: Ground) -> None:
    market = ground.markets[1]
    generator = np.random.default_rng(3)
    scores = generator.normal(size=(ground.sizes.users, ground.sizes.items)).astype(np.float32)
    test = market.split.test
    ranks = candidate_ranks(ByTable(scores), market, test)
    assert test.candidates is not None
    for row, user in enumerate(test.users):
        own = scores[market.first_user + user]
        assert ranks[row] == (own[test.candidates[row]] > own[test.targets[row]]).sum()


def test_every_judge_keeps_the_epoch_it_liked_best(ground: Ground) -> None:
    """Judges that like epochs 1 and 3 of four; the states differ, and whoever has no patience left is not asked."""
    torch.manual_seed(0)
    model = NeuMF(ground.sizes)
    likes, seen = ([0.9, 0.1, 0.1, 0.1], [0.1, 0.2, 0.9, 0.3]), []

    def evaluate(index: int):
        calls = iter(likes[index])

        def score(_: PointwiseModel) -> float:
            seen.append(index)
            return next(calls)

        return score

    options = replace(ground.settings, epochs=4, patience=2)
    first, second = fit(model, ground.markets, [evaluate(0), evaluate(1)], options, 0, "test")
    assert (first.epochs, second.epochs) == (1, 3)
    assert (first.validation, second.validation) == (0.9, 0.9)
    assert seen == [0, 1, 0, 1, 0, 1, 1]  # the first one gave up after epoch 3, the second would after one more
    assert any(not torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_the_same_seed_gives_the_same_bytes_whoever_judges(ground: Ground) -> None:
    """A market asked for alone has what it has beside others: rows of a table may be made on different days."""
    states = []
    for evaluated in ((0, 1), (1,)):
        torch.manual_seed(0)
        evaluations = [validation(ground.markets[index]) for index in evaluated]
        states.append(fit(NeuMF(ground.sizes), ground.markets, evaluations, ground.settings, 0, "test")[-1].state)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_the_meta_gradient_is_that_after_one_step(ground: Ground) -> None:
    """By hand on a copy: step on the support, then the gradient on the query."""
    torch.manual_seed(0)
    model, copy = Forec(ground.sizes), Forec(ground.sizes)
    copy.load_state_dict(model.state_dict())
    support, query, *_ = labelled_batches(ground.markets[0], ground.settings, 1, np.random.default_rng(0))
    _accumulate(model, support, query)
    copy.loss(support.request, support.labels, support.counted).backward()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter -= _STEP * parameter.grad
    copy.zero_grad()
    copy.loss(query.request, query.labels, query.counted).backward()
    for (name, ours), theirs in zip(model.named_parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_meta_learning_passes_over_the_largest_market_and_asks_all(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is the pairs of batches of the larger market, with one of the smaller beside each."""
    asked: list[int] = []
    monkeypatch.setattr(forec, "_accumulate", lambda _, support, query: asked.append(support.request.market))
    monkeypatch.setattr(forec, "_META_EPOCHS", 1)
    sizes = [len(market.split.train.items) for market in ground.markets]
    batches = [len(list(labelled_batches(m, ground.settings, 1, np.random.default_rng(0)))) for m in ground.markets]
    forec.meta_learn(Forec(ground.sizes), ground.markets, ground.settings, 0)
    assert asked.count(0) == asked.count(1) == batches[int(np.argmax(sizes))] // 2


def test_walks_are_factorised_as_their_formula_says() -> None:
    """NetMF with every dimension kept reproduces log max(1, M); unit rows, and zero for an item without neighbours."""
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 3, size=(7, 7))
    counts = counts + counts.T + np.diag([5] * 7)
    counts[6] = counts[:, 6] = 0
    vectors = across_markets(sparse.csr_matrix(counts), dimension=5, window=2)
    graph = (counts - np.diag(np.diag(counts)))[:6, :6].astype(float)
    degree = graph.sum(axis=1)
    step = graph / degree[:, None]
    met = graph.sum() / 2 * (step + step @ step) @ np.diag(1 / degree)
    values, left = np.linalg.eigh(np.log(np.maximum(met, 1)))
    order = np.argsort(-np.abs(values))[:5]
    expected = np.abs(left[:, order]) * np.sqrt(np.abs(values[order]))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(vectors[:6]), expected, atol=1e-4)
    assert not vectors[6].any()


def test_within_a_market_nothing_speaks_for_itself() -> None:
    counts = sparse.csr_matrix(np.array([[4, 2, 0], [2, 3, 0], [0, 0, 0]]))
    weights = within_market(counts, lam=1.0)
    assert np.diag(weights).tolist() == [0, 0, 0]
    inverse = np.linalg.inv(np.array([[5.0, 2], [2, 4]]))
    assert weights[0, 1] == pytest.approx(-inverse[0, 1] / inverse[1, 1], rel=1e-6)


def test_sizes_say_which_users_are_whose(ground: Ground) -> None:
    first, second = ground.markets
    assert (first.first_user, second.first_user) == (0, len(first.split.users))
    assert ground.sizes == Sizes(len(first.split.users) + len(second.split.users), len(first.split.items), 2)
