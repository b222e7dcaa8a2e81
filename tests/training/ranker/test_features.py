"""Candidates and features of a ranker: against independent derivations, and blind to what is held out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from fedrec.baselines.ease import ease_weights, gram
from fedrec.data.sequences import Sequences
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.exchange.statistics import (
    MONTH_DAYS,
    PAIR_KINDS,
    TOGETHER,
    Events,
    Monthly,
    Statistics,
    count_kinds,
)
from fedrec.models.ranker_features import COUNTED, USER_FEATURES, feature_names
from fedrec.recipe import EaseSettings, Recipe, load_recipe
from fedrec.training.evaluation import mean_ndcg
from fedrec.training.known import Known
from fedrec.training.loop import make_optimiser
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.features import Candidates, history_weights
from fedrec.training.ranker.holdouts import events_of, pseudo_holdout
from fedrec.training.ranker.item_item import PairMatrices, item_models
from fedrec.training.ranker.sales import NEVER, Sales
from fedrec.training.ranker.sources import features_of, market_statistics
from fedrec.training.ranker.trainer import RankerTrainer

DAY = 86400


def recipe(*overrides: str) -> Recipe:
    return load_recipe(
        "ranker", ["evaluation.protocol=temporal", "federation.rounds=3", "scores.kind=none", *overrides]
    )


def prepared(folder: Path, *overrides: str) -> PreparedMarket:
    return PreparedMarket(open_store(folder), recipe(*overrides))


def untrained(recipe: Recipe, market: PreparedMarket) -> RankerTrainer:
    """On the market's own statistics alone."""
    return RankerTrainer.of(recipe, market, Known())


def elsewhere(items: int) -> Statistics:
    """What another market might say of as many items."""
    generator = np.random.default_rng(1)
    events = naive(
        [
            [(int(item), 17_000 + step) for step, item in enumerate(generator.permutation(items)[:6])]
            for _ in range(200)
        ],
        items,
    )
    return market_statistics(events, 1)


def features_at(market: PreparedMarket, stage: str) -> Candidates:
    baskets = market.recipe.evaluation.holdout == "basket"
    holdout = {
        "hidden": lambda: pseudo_holdout(market.train, baskets),
        "validation": lambda: market.validation,
        "test": lambda: market.test,
    }[stage]()
    others = elsewhere(len(market.items))
    return features_of(holdout, others, market.recipe.algorithm, market.recipe.ease).block(np.arange(len(holdout)))


def with_other_ends(frame: pl.DataFrame, steps: int, baskets: bool) -> pl.DataFrame:
    """Other items in the last steps (rows, or days) of everybody who has more; rows are unique per user and item."""
    keys, generator = np.array(sorted(set(frame["item_id"]))), np.random.default_rng(0)
    parts = []
    for _, rows in frame.group_by("user_id", maintain_order=True):
        step = (rows["timestamp"] // DAY).rank("dense") if baskets else pl.Series(range(1, len(rows) + 1))
        held = (step > step.max() - steps).to_numpy() if step.max() > 2 else np.zeros(len(rows), bool)
        others = generator.permutation(np.setdiff1d(keys, rows["item_id"]))
        items = rows["item_id"].to_numpy().copy()
        items[held] = others[: held.sum()]
        parts.append(rows.with_columns(item_id=pl.Series(items)))
    return pl.concat(parts)


def with_other_rows_from(frame: pl.DataFrame, cut: int) -> pl.DataFrame:
    """Other items in everybody's rows from a time on, as far as there are others."""
    keys, generator = np.array(sorted(set(frame["item_id"]))), np.random.default_rng(0)
    parts = []
    for _, rows in frame.group_by("user_id", maintain_order=True):
        others = generator.permutation(np.setdiff1d(keys, rows["item_id"]))
        late = np.flatnonzero((rows["timestamp"] >= cut).to_numpy())[: len(others)]
        items = rows["item_id"].to_numpy().copy()
        items[late] = others[: len(late)]
        parts.append(rows.with_columns(item_id=pl.Series(items)))
    return pl.concat(parts)


def early_everything(frame: pl.DataFrame) -> pl.DataFrame:
    """Somebody who has everything before all others, so that items are numbered alike whatever the others have."""
    keys, begin = sorted(set(frame["item_id"])), int(frame["timestamp"].min())
    rows = [("everything", key, begin - DAY * (len(keys) - n), 1.0) for n, key in enumerate(keys)]
    return pl.DataFrame(rows, schema=frame.schema, orient="row")


@pytest.fixture(scope="module")
def frame(synthetic: Path) -> pl.DataFrame:
    rows = open_store(synthetic / "alfa").interactions.select("user_id", "item_id", "timestamp", "value")
    rows = rows.sort("user_id", "timestamp", maintain_order=True)
    return rows.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def assert_blind(before: PreparedMarket, after: PreparedMarket, stages: tuple[str, ...]) -> None:
    """No feature of these stages and no statistic differs, though what is tested does."""
    assert before.items == after.items
    assert not np.array_equal(before.test.targets, after.test.targets)
    for stage in stages:
        old, new = features_at(before, stage), features_at(after, stage)
        assert len(old) > 40
        for part in ("offsets", "items", "features", "users"):
            assert np.array_equal(getattr(old, part), getattr(new, part)), (stage, part)
    said, again = (market_statistics(market.train, 1).arrays() for market in (before, after))
    assert all(np.array_equal(array, again[name]) for name, array in said.items())


@pytest.mark.parametrize("kind", ["item", "basket", "family"])
@pytest.mark.parametrize(("steps", "stages"), [(2, ("hidden", "validation")), (1, ("hidden", "validation", "test"))])
def test_what_is_held_out_moves_no_feature_and_no_statistic(
    kind: str, steps: int, stages: tuple[str, ...], frame: pl.DataFrame, tmp_path: Path
) -> None:
    if kind == "basket":  # a day holds two rows
        day = frame["timestamp"].min() // DAY + pl.int_range(pl.len()).over("user_id") // 2
        frame = frame.with_columns(timestamp=day * DAY)
    chosen = {
        "item": ["evaluation.protocol=temporal"],
        "basket": ["evaluation.protocol=temporal", "evaluation.holdout=basket"],
        "family": ["evaluation.protocol=family"],
    }[kind]
    keys = sorted(set(frame["item_id"]))
    families = {key: key for key in keys} | {f"{key}-red": key for key in keys}
    found = []
    for name, one in (("before", frame), ("after", with_other_ends(frame, steps, kind == "basket"))):
        if kind == "family":  # every third row is another variant of its product
            red = (pl.int_range(pl.len()) % 3 == 0) & (pl.col("user_id") != "everything")
            one = one.with_columns(item_id=pl.col("item_id") + pl.when(red).then(pl.lit("-red")).otherwise(pl.lit("")))
        rows = pl.concat([early_everything(frame), one])
        write_store(tmp_path / name, "alfa", rows, source="t", time_resolution="second", families=families)
        found.append(prepared(tmp_path / name, *chosen))
    assert_blind(*found, stages)


def test_nothing_after_the_cut_moves_a_feature_or_a_statistic(frame: pl.DataFrame, tmp_path: Path) -> None:
    # Histories are laid side by side in time, so that the cut goes through nearly all of them.
    place = pl.int_range(pl.len()).over("user_id") / pl.len().over("user_id")
    frame = frame.with_columns(timestamp=((17_000 + (place * 300).floor()) * DAY).cast(pl.Int64))
    cut = 17_200 * DAY
    date = datetime.fromtimestamp(cut, UTC).date().isoformat()
    found = []
    for name, one in (("before", frame), ("after", with_other_rows_from(frame, cut))):
        rows = pl.concat([early_everything(frame), one])
        write_store(tmp_path / name, "alfa", rows, source="t", time_resolution="second")
        found.append(prepared(tmp_path / name, "evaluation.protocol=global-time", f"evaluation.cut_date={date}"))
    assert_blind(found[0], found[1], ("hidden", "validation", "test"))


def test_what_the_market_hides_from_itself_is_everyones_last_train_item(synthetic: Path) -> None:
    market = prepared(synthetic / "alfa")
    train, past = market.train, pseudo_holdout(market.train, baskets=False)
    longer = np.flatnonzero(train.lengths > 1)
    assert past.users.tolist() == longer.tolist()
    for row, user in enumerate(longer):
        items = train.items[train.offsets[user] : train.offsets[user + 1]]
        history = past.histories.take(np.array([row]))
        assert history.items.tolist() == items[:-1].tolist()
        (target,) = past.targets[past.rows == row]
        assert target in (items[-1], -1)
        assert (target == -1) == (items[-1] not in past.known.items)


def naive(histories: list[list[tuple[int, int]]], items: int) -> Sequences:
    """Histories of (item, day)."""
    rows = [row for history in histories for row in history]
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    return Sequences(offsets.astype(np.int64), columns[0], columns[1] * DAY, items)


def test_models_of_statistics_are_those_of_histories(synthetic: Path) -> None:
    """EASE of counted pairs is EASE of the histories; cosine and conditional by their definitions."""
    train = prepared(synthetic / "alfa").train
    models = item_models(PairMatrices.of(count_kinds(events_of(train))), EaseSettings())
    counts = gram(train.matrix()).toarray()
    assert np.abs(models["ease"] - ease_weights(counts, 100.0)).max() < 1e-5
    users, pairs = np.diag(counts), counts - np.diag(np.diag(counts))
    assert np.allclose(models["cosine"].toarray(), pairs / (np.sqrt(np.outer(users, users)) + 5), atol=1e-6)
    assert np.allclose(models["conditional"].toarray(), pairs / (users[:, None] + 5), atol=1e-6)


def test_a_decay_is_that_of_the_middle_of_its_bucket() -> None:
    pairs = PairMatrices.of(count_kinds(events_of(naive([[(0, 0), (1, 3)], [(0, 0), (1, 0)]], 2))))
    both, one = pairs.decayed(60, both_ways=True).toarray(), pairs.decayed(60, both_ways=False).toarray()
    assert both[0, 1] == both[1, 0] == pytest.approx(1 + np.exp(-4 / 60))
    assert one[0, 1] == pytest.approx(1 + np.exp(-4 / 60))
    assert one[1, 0] == pytest.approx(1)


def test_counts_without_an_inverse_get_a_larger_ridge() -> None:
    """Held-back counts need not be those of any histories."""
    counts = np.array([[2.0, 300.0], [300.0, 2.0]])
    with pytest.raises(np.linalg.LinAlgError):
        ease_weights(counts, 100.0)
    nothing = sparse.csr_matrix((2, 2))
    matrices = dict.fromkeys(PAIR_KINDS, nothing) | {TOGETHER: sparse.csr_matrix(counts)}
    models = item_models(PairMatrices(matrices), EaseSettings())
    assert np.isfinite(models["ease"]).all()
    assert models["ease"][0, 1] > 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=20),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(1, 5)), max_size=6),
    st.integers(0, 250),
    st.sampled_from([0, 7, 30]),
)
def test_sales_up_to_a_day(
    own: list[tuple[int, int]], others: list[tuple[int, int, int]], day: int, window: int
) -> None:
    """What other markets sold in a month is known from its end on."""
    columns = np.array(own, np.int64).reshape(-1, 2).T
    theirs = Monthly(*np.array(others, np.int32).reshape(-1, 3).T)
    sales = Sales.of(Events(np.zeros(len(own), np.int64), *columns, 4), theirs)
    known = own + [(item, (month + 1) * MONTH_DAYS - 1) for item, month, count in others for _ in range(count)]
    every, moment = np.arange(4), np.full(4, day)
    counts = [sum(item == one and when <= day for item, when in known) for one in range(4)]
    recent = [sum(item == one and day - window <= when <= day for item, when in known) for one in range(4)]
    assert sales.until(every, moment).tolist() == counts
    assert sales.window(np.array([day]), window)[0].tolist() == recent
    for one in range(4):
        when = sorted(d for item, d in known if item == one)
        assert sales.first(every)[one] == (when[0] if when else NEVER)
        until = [d for d in when if d <= day]
        assert sales.last(every, moment)[one] == (until[-1] if until else NEVER)


def test_weights_of_a_history() -> None:
    weights = history_weights(naive([[(2, 0), (0, 300), (1, 300)]], 3))
    rows = {name: matrix.toarray()[0].tolist() for name, matrix in weights.items()}
    assert rows["all"] == [1, 1, 1]
    assert rows["recent"] == [1, 1, 0.5]
    assert rows["position"] == pytest.approx([0.8, 1, 0.64])
    assert rows["last"] == [0, 1, 0]
    assert rows["day"] == [1, 1, 0]


def test_a_feature_for_every_name(synthetic: Path) -> None:
    candidates = features_at(prepared(synthetic / "alfa"), "validation")
    assert candidates.features.shape == (len(candidates.items), len(feature_names(summed=True)))
    assert candidates.users.shape == (len(candidates), len(USER_FEATURES))
    assert np.isfinite(candidates.features).all()
    # the last columns are those of COUNTED: the past is no less than a year, a year no less than a month
    counted = candidates.features[:, -len(COUNTED) :]
    assert (np.diff(counted[:, :6], axis=1) >= -1e-6).all()


@pytest.mark.parametrize("holdout", ["item", "basket"])
def test_validation_is_that_of_the_evaluation(holdout: str, synthetic: Path) -> None:
    """Ranks among candidates are ranks among all items, as far as they come into the first ten."""
    trainer = untrained(recipe(f"evaluation.holdout={holdout}"), prepared(synthetic / "alfa"))
    trainer.pretrain_round(1)
    trainer.finetune()
    validation = trainer.market.validation
    assert trainer.validation() == pytest.approx(mean_ndcg(trainer.scorer(validation), validation), abs=1e-9)
    assert trainer.validation() > 0


def test_a_batch_has_its_target_first_and_no_other_target(synthetic: Path) -> None:
    trainer = untrained(recipe("evaluation.holdout=basket"), prepared(synthetic / "alfa"))
    lists = trainer._hidden
    assert len(lists)
    batch = lists.batch(np.arange(len(lists)), 500, np.random.default_rng(0))
    sizes = np.diff(lists.lists.candidates.offsets)[lists.lists.candidates.rows[lists.found]]
    targets = np.bincount(lists.lists.candidates.rows[lists.found], minlength=len(lists.lists.candidates))
    mine = targets[lists.lists.candidates.rows[lists.found]]
    assert batch.there.sum(axis=1).tolist() == (1 + sizes - mine).tolist()
    first = lists.lists.inputs(lists.found)
    assert np.array_equal(batch.candidates[:, 0], first)


def test_a_refit_round_learns_from_validation_users_and_leaves_no_trace(synthetic: Path) -> None:
    """The next round of the same trainer is that of a new one: validation users choose again."""
    one, two = (untrained(recipe(), prepared(synthetic / "alfa")) for _ in range(2))
    alone, first = one.weight, one.state()
    one.refit_round(1)
    assert one.refit_weight == len(one._hidden) + len(one._validation) > alone
    assert one.weight == alone
    one.load(first)
    one.pretrain_round(1)
    two.pretrain_round(1)
    assert all(value.equal(two.state()[name]) for name, value in one.state().items())


def test_the_learning_rate_falls_over_as_many_rounds_as_there_are(synthetic: Path, monkeypatch: Any) -> None:
    """A market that is sampled in some rounds ends alone where the federation ends."""
    rates: list[float] = []

    def remember(model: Any, training: Any, rate: float) -> Any:
        rates.append(rate / training.learning_rate)
        return make_optimiser(model, training, rate)

    monkeypatch.setattr("fedrec.training.stages.make_optimiser", remember)
    trainer = untrained(recipe("federation.rounds=8"), prepared(synthetic / "alfa"))
    for server_round in (1, 8, 9):
        trainer.pretrain_round(server_round)
    for server_round in (1, 4):
        trainer.pretrain_round(server_round, rounds=4)
    assert rates == [1, 1 / 8, 1 / 8, 1, 1 / 4]


def test_a_market_of_short_histories_has_nothing_to_learn_and_still_ranks(tmp_path: Path) -> None:
    """One train item each: none can be hidden. Its update is what it was sent."""
    rows = [
        (f"u{user}", f"i{(user + step) % 9}", 1_500_000_000 + step * DAY, 1.0)
        for user in range(12)
        for step in range(3)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "value"], orient="row")
    write_store(tmp_path / "short", "short", frame, source="t", time_resolution="second")
    trainer = untrained(recipe(), prepared(tmp_path / "short"))
    before = trainer.model.shared_state()
    trainer.pretrain_round(1)
    assert all(value.equal(before[name]) for name, value in trainer.model.shared_state().items())
    assert trainer.weight == 1
    trainer.train_alone()
    test = trainer.market.test
    assert np.isfinite(trainer.scorer(test)(np.arange(len(test)))).all()


def test_days_before_1970_are_days(synthetic: Path) -> None:
    sales = Sales.of(Events(np.zeros(2, np.int64), np.array([0, 1]), np.array([-3, 0]), 2))
    assert sales.until(np.array([0, 0, 1, 1]), np.array([-4, -3, -1, 0])).tolist() == [0, 1, 0, 1]
    assert sales.first(np.array([0, 1])).tolist() == [-3, 0]
    assert sales.last(np.array([0, 1]), np.array([5, -1])).tolist() == [-3, NEVER]
    assert sales.window(np.array([3]), 7)[0].tolist() == [1, 1]


def test_an_untrained_ranker_ranks_its_candidates_by_popularity(synthetic: Path) -> None:
    """It says the same of all; without that a market with too little to learn from would find nothing."""
    trainer = untrained(recipe(), prepared(synthetic / "alfa"))
    trainer.finetune()
    holdout = trainer.market.validation
    scores = trainer.scorer(holdout)(np.arange(len(holdout)))
    popular = holdout.known.item_counts()
    for row in scores:
        order = np.argsort(-row[row > -1], kind="stable")
        assert (np.diff(popular[row > -1][order]) <= 0).all()
    assert trainer.validation() > 0
