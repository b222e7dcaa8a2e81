"""What whole runs rank: the same for every method, known before the held-out rows, and told where it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from fedrec.components import find
from fedrec.data.catalogue import own_vocabulary
from fedrec.data.splits import OUTSIDE, split_market
from fedrec.data.store import open_store, open_stores
from fedrec.files import read_json_lines
from fedrec.recipe import EvaluationSettings, load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.training.evaluation import all_ranks, mean_loss, mean_ndcg, rank_users
from tests.conftest import QUICK
from tests.data.test_protocols import ROWS
from tests.data.test_splits import Rows, store, under

METHODS = "evaluation.methods=[federated, local, pooled, popularity, itemknn, ease, fedease]"


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000), holdout=st.sampled_from(["item", "basket"]))
def test_targets_outside_are_misses_and_others_are_ranked_among_what_was_known(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, seed: int, holdout: str
) -> None:
    """Against a ranking in plain Python: items of the stage's catalogue without the history, ties at half."""
    path = store(tmp_path_factory.mktemp("store") / "jp", rows)
    try:
        split = split_market(open_store(path), under("temporal", holdout=holdout))
    except Exception:  # nobody has three steps
        return
    items = len(split.items)
    scores = np.random.default_rng(seed).integers(0, 4, (len(split.users), items)).astype(float)
    metrics = [find("metric", one.kind)(one) for one in EvaluationSettings().metrics if one.kind != "coverage"]
    for stage in (split.validation, split.test):
        ranked = set(range(items)) if stage.catalogue is None else set(np.flatnonzero(stage.catalogue).tolist())
        scorer = lambda users, stage=stage: scores[stage.users[users]]  # noqa: E731
        found = all_ranks(scorer, stage)
        for row, target, rank in zip(stage.rows.tolist(), stage.targets.tolist(), found.tolist(), strict=True):
            own = scores[stage.users[row]]
            begin, end = stage.histories.offsets[row : row + 2]
            others = ranked - set(stage.histories.items[begin:end].tolist()) - {target}
            if target == OUTSIDE:
                assert rank == np.inf
                continue
            above = sum(own[item] > own[target] for item in others)
            assert rank == above + sum(own[item] == own[target] for item in others) / 2
        assert stage.outside == np.mean(stage.targets == OUTSIDE)
        figures = rank_users({"x": scorer}, stage, metrics, [10, 20], split.train)["x"].users
        misses = [stage.targets[stage.rows == row] for row in range(len(stage))]
        for row, targets in enumerate(misses):
            if (targets == OUTSIDE).all():
                assert {name: values[row] for name, values in figures.items()} == dict.fromkeys(figures, 0.0)
            assert figures["recall@20"][row] <= np.mean(targets != OUTSIDE) + 1e-12
        reachable = stage.reachable()
        assert not (reachable.targets == OUTSIDE).any()
        assert sorted(np.unique(reachable.rows)) == list(range(len(reachable)))
        if len(reachable):
            inside = lambda users, stage=reachable: scores[stage.users[users]]  # noqa: E731
            assert mean_loss(scorer, stage) == pytest.approx(mean_loss(inside, reachable))
            if holdout == "item":
                hits = mean_ndcg(inside, reachable) * len(reachable)
                assert mean_ndcg(scorer, stage) * len(stage) == pytest.approx(hits)
        else:
            assert mean_loss(scorer, stage) == 0


@pytest.fixture(scope="module")
def known(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("known") / "run"
    recipe = load_recipe("fecosr", [*QUICK, METHODS, "semantics.kind=cooccurrence", "evaluation.protocol=temporal"])
    prepare_simulation(recipe, synthetic, out).start()
    return out


def test_every_method_misses_the_same_targets(known: Path, synthetic: Path) -> None:
    """Where the target is outside, no method has anything; keys that leave are of what was known."""
    settings = EvaluationSettings(protocol="temporal")
    from fedrec.runs.folder import RunFolder

    summary = RunFolder.open(known).read_summary()
    ledger, shares = read_json_lines(known / "ledger.jsonl"), []
    for market in open_stores(synthetic):
        split = split_market(market, settings)
        figures = summary["markets"][market.name]
        assert figures["catalogue"] == len(split.items) == len(own_vocabulary(market, settings).items)
        assert figures["outside"] == pytest.approx(split.test.outside)
        assert split.test.outside < 0.5
        shares.append(split.test.outside)
        missed = np.zeros(len(split.test), dtype=bool)
        missed[split.test.rows[split.test.targets == OUTSIDE]] = True
        per_user = load_file(known / "markets" / market.name / "per_user.safetensors")
        values = {name: array for name, array in per_user.items() if name.endswith(".recall@20")}
        assert len(values) > 7
        assert all((array[missed] == 0).all() for array in values.values())
        texts = [entry for entry in ledger if (entry["market"], entry["kind"]) == (market.name, "text")]
        sent = {entry["shape"][0] for entry in texts if entry["name"] == "items"}
        assert sent == {len(split.items)}
    assert max(shares) > 0


def test_the_union_is_ranked_where_it_is_asked_for(synthetic: Path, tmp_path: Path) -> None:
    """One list for all markets, and a shorter one for validation: what any market's train rows mention."""
    overrides = [*QUICK, METHODS, "semantics.kind=cooccurrence", "evaluation.catalogue=union"]
    recipe = load_recipe("fecosr", [*overrides, "evaluation.protocol=temporal", "federation.rounds=1"])
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    own = [own_vocabulary(one, under("temporal", catalogue="union")) for one in open_stores(synthetic)]
    union = {item for part in own for item in part.items}
    assert {figures["catalogue"] for figures in summary["markets"].values()} == {len(union)}
    assert summary["mean"]["federated"]["ndcg@10"] > 0
    from fedrec.files import read_json

    for market in ("alfa", "bravo", "charlie"):
        kept = read_json(tmp_path / "run" / "markets" / market / "vocabulary.json")
        assert kept == {"items": sorted(union), "learned": sorted({item for part in own for item in part.learned})}


def test_what_was_before_can_be_had_again(synthetic: Path, tmp_path: Path) -> None:
    recipe = load_recipe("baselines", ["evaluation.catalogue=all", "evaluation.protocol=temporal"])
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    for market in open_stores(synthetic):
        assert summary["markets"][market.name]["outside"] == 0
        assert summary["markets"][market.name]["catalogue"] == market.items


def test_a_catalogue_does_not_go_with_every_protocol() -> None:
    from fedrec.errors import UserError

    for overrides in (["evaluation.protocol=acmr", "evaluation.catalogue=all"],):
        with pytest.raises(UserError, match=r"evaluation\.catalogue 'all': protocol 'acmr' says itself"):
            load_recipe("baselines", overrides)
    with pytest.raises(UserError, match=r"evaluation\.catalogue 'union'"):
        load_recipe("fedmm", ["evaluation.protocol=ctr", "evaluation.catalogue=union"])
