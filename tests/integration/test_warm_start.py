"""A run that begins with an earlier run's model: new rows, new items, a new market."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from fedrec.data.columns import Columns
from fedrec.data.store import open_store
from fedrec.data.store_writer import write_store
from fedrec.errors import RunError, UserError
from fedrec.files import read_json_lines
from fedrec.report.tables import privacy_lines
from fedrec.report.words import answer
from fedrec.runs.summary import comparable
from fedrec.simulation.audit import audit
from fedrec.simulation.forget import forget
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.integration.harness import Stopping, quick

COUNTS = "semantics.kind=cooccurrence"
FEW = "evaluation.methods=[federated]"


@pytest.fixture(scope="module")
def older(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The markets as they were: without the last fifth of their rows, and without charlie."""
    folder = tmp_path_factory.mktemp("older") / "data"
    for name in ("alfa", "bravo"):
        store = open_store(synthetic / name)
        rows = store.interactions.sort(Columns.TIMESTAMP)
        rows = rows.head(int(0.8 * rows.height))
        items = pl.read_parquet(synthetic / name / "items.parquet")
        items = items.filter(pl.col(Columns.ITEM).is_in(rows[Columns.ITEM].unique().implode()))
        kept = {"time_resolution": "second", "items": items, "items_declared": True}
        write_store(folder / name, name, rows, source="test", **kept)
    return folder


@pytest.fixture(scope="module")
def earlier(older: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the older data."""
    out = tmp_path_factory.mktemp("earlier") / "run"
    prepare_simulation(quick(COUNTS, FEW), older, out).start()
    return out


def first_validation(summary: dict) -> float:
    """What the markets say of the model that their first round began with."""
    return summary["rounds"][0]["validation_before"]


def test_the_rounds_begin_with_the_model_the_earlier_ones_ended_with(
    earlier: Path, older: Path, tmp_path: Path
) -> None:
    """On the same data: the vectors are turned onto themselves, and validation goes on where it stood."""
    before = json.loads((earlier / "summary.json").read_text())
    validated = {line["validated"]: line["validation_before"] for line in rounds_of(earlier)}
    assert before["best_round"] in validated, "the best round was the last: give the fixture another round"
    summary = prepare_simulation(quick(COUNTS, FEW), older, tmp_path / "run", warm_start=earlier).start()
    assert first_validation(summary) == pytest.approx(validated[before["best_round"]], abs=1e-6)
    assert summary["warm_start"] is True
    assert before["warm_start"] is False


def rounds_of(run: Path) -> list[dict]:
    return [line for line in read_json_lines(run / "events.jsonl") if line["event"] == "round"]


def test_on_new_rows_items_and_markets_it_begins_ahead(earlier: Path, synthetic: Path, tmp_path: Path) -> None:
    old = set(json.loads((earlier / "shared" / "items.json").read_text()))
    cold = prepare_simulation(quick(COUNTS, FEW), synthetic, tmp_path / "cold").start()
    warm = prepare_simulation(quick(COUNTS, FEW), synthetic, tmp_path / "warm", warm_start=earlier).start()
    new = set(json.loads((tmp_path / "warm" / "shared" / "items.json").read_text()))
    assert new - old, "no item is new"
    assert set(warm["markets"]) == {"alfa", "bravo", "charlie"}
    assert first_validation(warm) > first_validation(cold)
    (semantics,) = [
        line for line in read_json_lines(tmp_path / "warm" / "events.jsonl") if line["event"] == "semantics"
    ]
    assert semantics["aligned"] >= 16


def test_the_new_vectors_are_the_cold_ones_turned_to_the_old(earlier: Path, synthetic: Path, tmp_path: Path) -> None:
    """Against an independent solution of the same problem, by the singular value decomposition."""
    runs = {"cold": None, "warm": earlier}
    for name, begin in runs.items():
        prepare_simulation(
            quick(COUNTS, FEW, "federation.rounds=1"), synthetic, tmp_path / name, warm_start=begin
        ).start()
    cold, warm, old = (items_of(folder) for folder in (tmp_path / "cold", tmp_path / "warm", earlier))
    assert cold.keys() == warm.keys()
    common = [key for key in cold if key in old and cold[key].any() and old[key].any()]
    left, _, right = np.linalg.svd(np.array([cold[key] for key in common]).T @ np.array([old[key] for key in common]))
    for key, vector in warm.items():
        np.testing.assert_allclose(vector, cold[key] @ left @ right, atol=1e-5)


def items_of(run: Path) -> dict[str, np.ndarray]:
    keys = json.loads((run / "shared" / "items.json").read_text())
    vectors = load_file(run / "shared" / "items.safetensors")["vectors"].astype(np.float64)
    return dict(zip(keys, vectors, strict=True))


def test_texts_need_nothing_turned(older: Path, synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("semantics.kind=hashing", FEW)
    prepare_simulation(recipe, older, tmp_path / "earlier").start()
    shutil.copytree(tmp_path / "earlier" / "shared", tmp_path / "export")  # all that is needed of it
    cold = prepare_simulation(recipe, synthetic, tmp_path / "cold").start()
    warm = prepare_simulation(recipe, synthetic, tmp_path / "warm", warm_start=tmp_path / "export").start()
    assert first_validation(warm) > first_validation(cold)


def test_it_goes_on_where_it_was_stopped_without_the_earlier_run(
    earlier: Path, synthetic: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(earlier, copied)
    whole = prepare_simulation(quick(COUNTS, FEW), synthetic, tmp_path / "one" / "run", warm_start=copied).start()
    stopped = prepare_simulation(quick(COUNTS, FEW), synthetic, tmp_path / "two" / "run", warm_start=copied)
    with pytest.raises(KeyboardInterrupt):
        stopped.start(client_app=Stopping("train.pretrain", 2))
    shutil.rmtree(copied)
    resumed = resume_simulation(tmp_path / "two" / "run").start()
    assert comparable(resumed) == comparable(whole)
    models = [(tmp_path / name / "run" / "shared" / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert models[0] == models[1]


def test_it_says_so_where_nothing_was_better(earlier: Path, synthetic: Path, tmp_path: Path) -> None:
    settings = (COUNTS, FEW, "training.learning_rate=10")
    summary = prepare_simulation(quick(*settings), synthetic, tmp_path / "run", warm_start=earlier).start()
    assert summary["best_round"] == 0
    assert "kept the earlier run's model" in answer(summary, "ndcg@10")


def test_a_private_run_begins_with_a_private_one_and_says_that_epsilons_add(
    older: Path, synthetic: Path, tmp_path: Path
) -> None:
    recipe = quick("semantics.kind=hashing", FEW, "privacy.epsilon=8", "privacy.delta=0.0001")
    prepare_simulation(recipe, older, tmp_path / "earlier").start()
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run", warm_start=tmp_path / "earlier").start()
    (line,) = privacy_lines(summary)
    assert "what the earlier run spent, whose model this one began with, adds to it" in line


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.dimension=8"], "model.dimension is 8, it was trained with 16"),
        (["semantics.kind=hashing"], "semantics.kind is 'hashing', it was trained with 'cooccurrence'"),
        (["encoder.heads=1"], "encoder.heads is 1, it was trained with 2"),
        (["seed=1"], "seed is 1, it was trained with 0"),
        (["masks.enabled=true"], "masks.enabled=true"),
        (["evaluation.methods=[local]"], "has no federated"),
        (["algorithm.kind=codes"], "its own federation alone"),
        (["privacy.epsilon=8"], "trained without privacy"),
    ],
)
def test_what_cannot_begin_with_it(
    overrides: list[str], said: str, earlier: Path, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        prepare_simulation(quick(COUNTS, *overrides), synthetic, tmp_path / "run", warm_start=earlier)
    assert not (tmp_path / "run").exists()


def test_a_recipe_left_to_the_markets_is_compared_once_it_is_known(
    earlier: Path, synthetic: Path, tmp_path: Path
) -> None:
    """These markets have texts, so ``auto`` becomes another semantics than the model's."""
    simulation = prepare_simulation(quick(FEW), synthetic, tmp_path / "run", warm_start=earlier)
    with pytest.raises(RunError, match=r"semantics\.kind is '\w+', it was trained with 'cooccurrence'"):
        simulation.start()


def test_what_is_no_model_is_refused_by_name(synthetic: Path, tmp_path: Path, earlier: Path) -> None:
    with pytest.raises(UserError, match="holds no shared model"):
        prepare_simulation(quick(COUNTS), synthetic, tmp_path / "run", warm_start=synthetic)
    damaged = tmp_path / "damaged"
    shutil.copytree(earlier / "shared", damaged)
    save_file({"encoder.weight": np.zeros(3, np.float32)}, damaged / "model.safetensors")
    with pytest.raises(UserError, match="differs from its hash"):
        prepare_simulation(quick(COUNTS), synthetic, tmp_path / "run", warm_start=damaged)
    assert not (tmp_path / "run").exists()


def test_other_catalogues_leave_the_axes_undecided(earlier: Path, synthetic: Path, tmp_path: Path) -> None:
    """No item in common: a rotation cannot be known, and one that was guessed would ruin the model."""
    folder = tmp_path / "data"
    for name in ("alfa", "bravo"):
        rows = open_store(synthetic / name).interactions
        rows = rows.with_columns((pl.lit("new-") + pl.col(Columns.ITEM)).alias(Columns.ITEM))
        write_store(folder / name, name, rows, source="test", time_resolution="second")
    simulation = prepare_simulation(quick(COUNTS, FEW), folder, tmp_path / "run", warm_start=earlier)
    with pytest.raises(RunError, match=r"0 of \d+ items are known to the model that this run begins with"):
        simulation.start()


def test_a_user_is_forgotten_where_the_model_met_them(earlier: Path, synthetic: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    prepare_simulation(quick(COUNTS, FEW), synthetic, out, warm_start=earlier).start()
    user = open_store(synthetic / "alfa").interactions[Columns.USER][0]
    with pytest.raises(UserError, match="began with the model of"):
        forget(out, "alfa", user, tmp_path / "data", tmp_path / "without")
    with pytest.raises(UserError, match="began with a model that may know"):
        audit(out)
    assert not (tmp_path / "data").exists()
