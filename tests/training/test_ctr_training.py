"""Click-through training and its intervals, against scikit-learn and a bootstrap that copies instances."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fedrec.data.ctr import CtrSplit, split_ctr
from fedrec.data.store import open_store
from fedrec.metrics.ctr import Predictions
from fedrec.recipe import CtrSettings
from fedrec.training.codes import CodeTable, MarketCodes
from fedrec.training.ctr import CtrTrainer, evaluate_ctr
from tests.data.test_ctr_split import Row, market
from tests.data.test_splits import under

BACKBONES = ["widedeep", "deepfm", "dcnv2", "din"]
METRICS = ("auc", "gauc", "logloss")
RESAMPLES = 12


# evaluation


def by_hand(users: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """nan where there is nothing to tell apart."""
    groups = [(users == user) for user in np.unique(users)]
    both = [own for own in groups if len(set(labels[own])) == 2]
    return {
        "auc": roc_auc_score(labels, predicted) if len(set(labels)) == 2 else np.nan,
        "gauc": np.average(
            [roc_auc_score(labels[own], predicted[own]) for own in both], weights=[own.sum() for own in both]
        )
        if both
        else np.nan,
        "logloss": log_loss(labels, predicted, labels=[0, 1]),
    }


def with_copies(users: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each resample's rows, and whose they are: a user drawn twice is two users with the same instances."""
    generator, members = np.random.default_rng(seed), np.unique(users)
    result = []
    for _ in range(RESAMPLES):
        drawn = members[generator.integers(len(members), size=len(members))]
        rows = [np.flatnonzero(users == user) for user in drawn]
        owners = np.repeat(np.arange(len(drawn)), [len(own) for own in rows])
        result.append((np.concatenate(rows), owners))
    return result


@st.composite
def told_markets(draw):
    """Four users, numbered with gaps and in any order; predictions with ties."""
    size = draw(st.integers(12, 30))
    users = np.array([3, 7, 8, 20])[np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))]
    labels = np.array([0, 1] * 3 + draw(st.lists(st.integers(0, 1), min_size=size - 6, max_size=size - 6)), float)
    users[:6] = [3, 3, 20, 20, 7, 7]  # most have both kinds
    predicted = [np.array(draw(st.lists(st.integers(1, 19), min_size=size, max_size=size))) / 20 for _ in range(3)]
    return users, labels, dict(zip(("federated", "local", "nocodes"), predicted, strict=True))


@settings(max_examples=8, deadline=None)
@given(told_markets(), st.integers(0, 1000), st.sampled_from(["sampled", "ratings"]))
def test_means_and_intervals_are_those_of_copied_users(told, seed, task):
    users, labels, predicted = told
    found = evaluate_ctr(
        {method: Predictions(users, labels, values) for method, values in predicted.items()},
        task,
        RESAMPLES,
        np.random.default_rng(seed),
    )
    whole = {method: by_hand(users, labels, values) for method, values in predicted.items()}
    resampled = {
        method: [by_hand(owners, labels[rows], values[rows]) for rows, owners in with_copies(users, seed)]
        for method, values in predicted.items()
    }
    expected = {"users": float(len(set(users)))}
    for method in predicted:
        expected |= {f"{method}.{metric}": whole[method][metric] for metric in METRICS}
    for other in ("local", "nocodes"):
        for metric in METRICS:
            values = [a[metric] - b[metric] for a, b in zip(resampled["federated"], resampled[other], strict=True)]
            values = [value for value in values if not np.isnan(value)]
            name = f"difference.federated.{other}.{metric}"
            expected[f"{name}.mean"] = whole["federated"][metric] - whole[other][metric]
            expected[f"{name}.low"], expected[f"{name}.high"] = np.percentile(values, [2.5, 97.5])
    calibration = {name: found.pop(name) for name in list(found) if name.endswith(".ece")}
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert set(calibration) == ({f"{method}.ece" for method in predicted} if task == "ratings" else set())


def test_calibration_by_hand():
    """One in [.2, .3), not liked, and two in [.9, 1], one of which is: |.25 - 0| / 3 + 2 |.95 - .5| / 3."""
    found = Predictions(np.array([0, 0, 1]), np.array([0.0, 1.0, 0.0]), np.array([0.25, 0.95, 0.95]))
    scalars = evaluate_ctr({"federated": found}, "ratings", RESAMPLES, np.random.default_rng(0))
    assert scalars["federated.ece"] == pytest.approx((0.25 + 2 * 0.45) / 3)


def some_predictions(seed: int = 0, users: int = 30) -> Predictions:
    generator = np.random.default_rng(seed)
    return Predictions(
        np.repeat(np.arange(users), 6), np.tile([1.0, 0, 0, 1, 0, 0], users), generator.uniform(0.1, 0.9, 6 * users)
    )


def test_without_a_headline_there_are_no_differences():
    found = evaluate_ctr(
        {"local": some_predictions(), "nocodes": some_predictions(1)}, "sampled", RESAMPLES, np.random.default_rng(0)
    )
    assert set(found) == {"users", *(f"{method}.{metric}" for method in ("local", "nocodes") for metric in METRICS)}
    assert found["users"] == 30


def test_a_method_does_not_differ_from_its_like():
    """The same draws for every method: an interval of nothing, not one of chance."""
    found = evaluate_ctr(
        {"federated": some_predictions(), "local": some_predictions()}, "sampled", RESAMPLES, np.random.default_rng(0)
    )
    assert {value for name, value in found.items() if name.startswith("difference.")} == {0.0}


def test_other_methods_do_not_change_an_interval():
    pair = {"federated": some_predictions(), "local": some_predictions(1)}
    alone = evaluate_ctr(pair, "sampled", RESAMPLES, np.random.default_rng(3))
    among = evaluate_ctr({"nocodes": some_predictions(2), **pair}, "sampled", RESAMPLES, np.random.default_rng(3))
    assert alone.items() <= among.items()


def test_an_interval_holds_its_mean_and_shrinks_with_users():
    widths = []
    for users in (20, 500):
        pair = {"federated": some_predictions(0, users), "local": some_predictions(1, users)}
        found = evaluate_ctr(pair, "sampled", 200, np.random.default_rng(0))
        for metric in METRICS:
            low, mean, high = (found[f"difference.federated.local.{metric}.{part}"] for part in ("low", "mean", "high"))
            assert low < mean < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2  # a fifth, in the long run


def test_where_nobody_has_both_kinds_nothing_is_said_of_groups():
    """Three users who like everything, three who like nothing: ratings of a small market. No figure, no warning."""
    users, labels = np.repeat(np.arange(6), 2), np.repeat([1.0, 0.0], 6)
    generator = np.random.default_rng(0)
    pair = {method: Predictions(users, labels, generator.uniform(size=12)) for method in ("federated", "local")}
    found = evaluate_ctr(pair, "ratings", RESAMPLES, np.random.default_rng(0))
    assert "federated.auc" in found
    assert not [name for name in found if "gauc" in name]


# training


FEW = {"dimension": 4, "hidden": [8], "history": 5, "epochs": 2, "learning_rate": 0.01, "batch_size": 64}


@pytest.fixture(scope="module")
def split(synthetic: Path) -> CtrSplit:
    return split_ctr(open_store(synthetic / "alfa"), under("ctr"), CtrSettings(negatives=2))


def codes(split: CtrSplit, seed: int = 0) -> MarketCodes:
    generator = np.random.default_rng(seed)
    return MarketCodes(*(CodeTable.random(len(names), (6, 4), generator) for names in (split.users, split.items)))


def trainer_of(
    split: CtrSplit, backbone: str = "deepfm", seed: int = 0, market: str = "jp", codes_seed: int = 0, **changes: object
) -> CtrTrainer:
    values = {**FEW, "backbone": backbone, **changes}
    return CtrTrainer(split, codes(split, codes_seed), CtrSettings.model_validate(values), seed, market)


def encoded(trainer: CtrTrainer) -> bytes:
    return b"".join(trainer.state()[name].numpy().tobytes() for name in sorted(trainer.state()))


@pytest.mark.parametrize("patience", [2, 50])
def test_the_epoch_of_the_best_validation_is_kept(split, monkeypatch, patience):
    """The training set is learned by heart in the end: the best is neither the first nor the last."""
    trainer = trainer_of(split, epochs=12, learning_rate=0.004, patience=patience, dropout=0.0)
    losses, states = [], []
    original = trainer.predict

    def watched(instances):
        found = original(instances)
        assert instances is split.validation
        losses.append(log_loss(found.labels, found.predicted, labels=[0, 1]))
        states.append(encoded(trainer))
        return found

    monkeypatch.setattr(trainer, "predict", watched)
    watch = trainer.train()
    best = int(np.argmin(losses))
    assert 0 < best < len(losses) - 1
    assert watch.best_index == best
    assert -watch.score == pytest.approx(losses[best])
    assert encoded(trainer) == states[best]
    assert len(losses) == (12 if patience == 50 else best + 1 + patience)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_same_seed_gives_the_same_bytes(split, backbone):
    """Dropout included, whatever torch's own generator has drawn in between; market and codes count as well."""
    found = []
    for _ in range(2):
        for changes in ({}, {"seed": 1}, {"market": "de"}, {"codes_seed": 1}):
            trainer = trainer_of(split, backbone, epochs=1, **changes)
            trainer.train()
            found.append(encoded(trainer))
            torch.rand(1)
    assert found[:4] == found[4:]
    assert len(set(found)) == 4


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_was_learned_is_written_and_read_back(split, backbone):
    """Identical predictions, in the order of the instances; a fresh model's are others."""
    trainer, other = trainer_of(split, backbone), trainer_of(split, backbone, seed=5)
    trainer.train()
    expected = trainer.predict(split.test)
    assert not np.array_equal(other.predict(split.test).predicted, expected.predicted)
    other.load({name: value.clone() for name, value in trainer.state().items()})
    found = other.predict(split.test)
    for name in ("users", "labels", "predicted"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    assert np.array_equal(found.in_order(found.users), split.test.users)
    assert np.array_equal(found.in_order(found.labels), split.test.labels)


def test_predictions_do_not_depend_on_the_company(split):
    """One instance at a time gives what all of them together give."""
    trainer = trainer_of(split, "din")
    trainer.train()
    everyone = trainer.predict(split.test)
    alone = [trainer.predict(split.test.take(np.array([row]))).predicted[0] for row in range(20)]
    np.testing.assert_allclose(everyone.in_order(everyone.predicted)[:20], alone, rtol=1e-5, atol=0)
    assert ((everyone.predicted > 0) & (everyone.predicted < 1)).all()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("whose", ["users", "items"])
def test_of_one_kind_alone_the_codes_of_the_other_say_nothing(split, backbone, whose):
    """Other codes of the kind that is left out move no prediction, and those of the other kind do."""
    both, others = codes(split), codes(split, 1)
    mixed = {"users": MarketCodes(both.users, others.items), "items": MarketCodes(others.users, both.items)}
    settings = CtrSettings.model_validate({**FEW, "backbone": backbone, "codes": whose})
    found = {}
    for name, of in (("both", both), ("mixed", mixed[whose]), ("others", others)):
        trainer = CtrTrainer(split, of, settings, 0, "jp")
        trainer.train()
        found[name] = trainer.predict(split.validation).predicted
    assert np.array_equal(found["both"], found["mixed"])
    assert not np.array_equal(found["both"], found["others"])


def test_what_a_model_is_given_by_loops(split):
    """Identity, the code of each level and all of them together, of user, item and the last five items of the past."""
    trainer, made = trainer_of(split, "din"), codes(split)

    def fields(table: CodeTable, number: int) -> list[int]:
        first, second = table.codes[number].tolist()
        return [number, first, second, first * 5 + second]

    batch = split.test.take(np.arange(30))
    given_ = trainer.given(batch)
    for row in range(30):
        user, item = int(batch.users[row]), int(batch.items[row])
        assert given_.user[row].tolist() == fields(made.users, user)
        assert given_.item[row].tolist() == fields(made.items, item)
        past = split.rows.items[split.rows.offsets[user] : batch.ends[row]].tolist()[-5:]
        assert given_.valid[row].tolist() == [False] * (5 - len(past)) + [True] * len(past)
        held = given_.history[row][given_.valid[row]].tolist()
        assert held == [fields(made.items, number) for number in past]
    assert trainer_of(split, "deepfm").given(batch).history.shape == (30, 0, 4)


@pytest.fixture(scope="module")
def both_even(tmp_path_factory: pytest.TempPathFactory) -> CtrSplit:
    """Fifty users rate six random items on each of seven days: well where both are even."""
    generator = np.random.default_rng(0)
    rows = [
        Row(f"u{user:03d}", f"i{item:03d}", day, 0, 5.0 if user % 2 == item % 2 == 0 else 1.0)
        for user in range(50)
        for place, item in enumerate(generator.permutation(900)[:42].tolist())
        for day in [place // 6]
    ]
    store = market(tmp_path_factory.mktemp("even") / "jp", rows)
    return split_ctr(store, under("ctr"), CtrSettings(task="ratings"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_predictor_uses_what_codes_say(both_even, backbone):
    """Codes that say who is even rank far better than random ones, under which a new item says nothing."""
    values = {"backbone": backbone, "epochs": 30, "patience": 5, "learning_rate": 0.01, "dropout": 0.0, "hidden": [16]}
    aucs = []
    for random in (False, True):
        generator = np.random.default_rng(1)
        tables = [
            CodeTable.random(len(names), (2,), generator)
            if random
            else CodeTable(np.array([[int(name[1:]) % 2] for name in names]), (2,))
            for names in (both_even.users, both_even.items)
        ]
        trainer = CtrTrainer(both_even, MarketCodes(*tables), CtrSettings.model_validate(values), 0, "jp")
        trainer.train()
        aucs.append(trainer.predict(both_even.test).auc())
    assert aucs[0] > aucs[1] + 0.05
