"""Methods of a whole run against what they claim to be."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy import sparse

from fedrec.baselines.ease import ease_weights
from fedrec.clients.methods import finished_methods
from fedrec.clients.node import MarketNode
from fedrec.data.store import open_store, open_stores
from fedrec.exchange.pairs import read_pairs
from fedrec.files import read_json_lines
from fedrec.recipe import Recipe, load_recipe
from fedrec.simulation.pooled import pooled_semantics
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import QUICK
from tests.integration.harness import quick

LAM = 10.0


def pooled_ease(markets: list[PreparedMarket], own: list[str], restrict: str) -> np.ndarray:
    """EASE where all histories lie in one place: stacked over the union of all items, as plain dense ridge algebra.

    ``before``: the columns of one market's catalogue are taken out of the stacked matrix; ``after``: its rows and
    columns out of the solution. B_ij = -P_ij / P_jj with P = (X'X + lam I)^-1.
    """
    union = sorted({item for market in markets for item in market.split.items})
    blocks = []
    for market in markets:
        placed = np.zeros((len(market.train), len(union)))
        columns = np.searchsorted(union, market.split.items)
        placed[:, columns] = market.train.matrix().toarray()
        blocks.append(placed)
    stacked = np.vstack(blocks)
    keep = np.searchsorted(union, own)
    if restrict == "before":
        stacked = stacked[:, keep]
    precision = np.linalg.inv(stacked.T @ stacked + LAM * np.eye(stacked.shape[1]))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0)
    bought = stacked.sum(axis=0) > 0
    weights[~bought] = weights[:, ~bought] = 0
    return weights if restrict == "before" else weights[np.ix_(keep, keep)]


@pytest.mark.parametrize("restrict", ["before", "after"])
@pytest.mark.parametrize("engine", ["engine.kind=inline", pytest.param("engine.kind=ray", marks=pytest.mark.slow)])
def test_federated_ease_is_pooled_ease(restrict: str, engine: str, synthetic: Path, tmp_path: Path) -> None:
    """To 1e-9, in every market, after each market has answered one question."""
    settings = [f"fedease.restrict={restrict}", f"fedease.lambdas=[{LAM}]", engine, "evaluation.protocol=temporal"]
    recipe = load_recipe("fedease", [*settings, "ease.lambdas=[10]", "evaluation.resamples=20"])
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    recipe = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    markets = [PreparedMarket(store, recipe) for store in open_stores(synthetic)]
    for market in markets:
        node = MarketNode(market.store, tmp_path / "run" / "markets" / market.store.name)
        arrays = load_file(node.gram)
        counts = read_pairs(arrays, int(arrays["size"][0]), 1, diagonal=True).matrix()
        own = arrays["own"]
        expected = pooled_ease(markets, market.split.items, restrict)
        np.testing.assert_allclose(ease_weights(counts, LAM)[np.ix_(own, own)], expected, rtol=0, atol=1e-9)
        used = finished_methods(node, recipe).shared
        assert used is not None
        np.testing.assert_allclose(used.weights, expected, rtol=0, atol=1e-6)  # kept in float32
    ledger = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    asked = [entry for entry in ledger if entry["action"] == "query.gram" and entry["name"] == "count"]
    assert sorted(entry["market"] for entry in asked) == ["alfa", "bravo", "charlie"]


def test_pairs_of_single_users_can_stay_at_home(synthetic: Path, tmp_path: Path) -> None:
    """min_count 3: nothing below leaves, and the sums a market gets back hold nothing below either."""
    recipe = load_recipe("fedease", ["fedease.min_count=3", "evaluation.resamples=20", "ease.lambdas=[100]"])
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    counts = load_file(tmp_path / "run" / "markets" / "alfa" / "gram.safetensors")["count"]
    assert counts.min() >= 3


def resolved(*overrides: str) -> Recipe:
    return quick("semantics.kind=cooccurrence", *overrides).resolved(False, True)


def test_pooled_shares_one_model_on_the_federations_semantics(synthetic: Path, tmp_path: Path) -> None:
    """Without fine-tuning all markets hold the same shared parameters, not the untrained and not the federated ones;
    item vectors are, bit for bit, those that the federation's exchange makes."""
    out = tmp_path / "run"
    settings = ("finetune.epochs=0", "evaluation.methods=[federated, pooled]", "federation.rounds=2")
    summary = prepare_simulation(quick("semantics.kind=cooccurrence", *settings), synthetic, out).start()
    assert {"pooled", "pooled_without_prior", "federated"} <= set(summary["mean"])
    recipe = resolved(*settings)
    markets = [PreparedMarket(store, recipe) for store in open_stores(synthetic)]
    states = [load_file(out / "markets" / market.store.name / "pooled.safetensors") for market in markets]
    untrained = SequentialTrainer.on(recipe, markets[0], pooled_semantics(recipe, markets)[0]).model.shared_state()
    federated = load_file(out / "shared" / "model.safetensors")
    for name in untrained:
        assert all(np.array_equal(state[name], states[0][name]) for state in states), name
    assert not np.array_equal(states[0]["encoder.norm.weight"], untrained["encoder.norm.weight"].numpy())
    assert not np.array_equal(states[0]["encoder.norm.weight"], federated["encoder.norm.weight"])
    for market, semantics in zip(markets, pooled_semantics(recipe, markets), strict=True):
        received = load_file(out / "markets" / market.store.name / "semantics.safetensors")["semantics"]
        known = semantics.known
        norms = np.linalg.norm(received[known], axis=1, keepdims=True)
        np.testing.assert_allclose(semantics.vectors[known], received[known] / norms, rtol=0, atol=1e-6)
        assert not received[~known].any()


def test_a_local_baseline_has_the_rounds_its_market_was_asked_for(synthetic: Path, tmp_path: Path) -> None:
    """Two of three markets are sampled each round: a local baseline trains in as many rounds as its market, by hand."""
    out = tmp_path / "run"
    settings = ("federation.participation=0.5", "federation.rounds=3", "evaluation.protocol=temporal")
    summary = prepare_simulation(quick("semantics.kind=cooccurrence", *settings), synthetic, out).start()
    recipe = load_recipe(str(out / "recipe.yaml"))
    asked = {"alfa": 0, "bravo": 0, "charlie": 0}
    for record in summary["rounds"]:
        for market in record["accepted"]:
            asked[market] += 1
    assert len(summary["rounds"]) == 3
    assert sorted(asked.values()) != [3, 3, 3]
    for store in open_stores(synthetic):
        trainer = SequentialTrainer.alone(recipe, PreparedMarket(store, recipe))
        expected = trainer.train_alone(asked[store.name]).state
        found = load_file(out / "markets" / store.name / "local.safetensors")
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value.numpy(), err_msg=name)


def test_the_legacy_protocol_ranks_the_union(tmp_path: Path) -> None:
    """A hundred candidates: NDCG@10 of popularity is far above what it is against a whole catalogue; keys are exchanged
    once, and every market's catalogue is the union."""
    from fedrec.data.synth import SynthSettings, write_synthetic_markets

    data = tmp_path / "data"
    write_synthetic_markets(data, SynthSettings(("alfa", "bravo"), 60, 260, 10, 8.0, 0.3, 0.2, 0.8, 1))
    methods = "evaluation.methods=[federated, local, popularity, ease, fedease]"
    recipe = load_recipe("fecosr", [*QUICK, "evaluation.protocol=acmr", "semantics.kind=cooccurrence", methods])
    summary = prepare_simulation(recipe, data, tmp_path / "run").start()
    assert summary["mean"]["popularity"]["ndcg@10"] > 0.15
    ledger = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    assert len([entry for entry in ledger if entry["action"] == "query.vocabulary"]) == 2
    sizes = {
        load_file(path)["semantics"].shape[0] for path in (tmp_path / "run").glob("markets/*/semantics.safetensors")
    }
    union = {item for store in open_stores(data) for item in store.catalogue["item_id"]}
    assert sizes == {len(union)}
    sold = set(open_store(data / "alfa").catalogue["item_id"])
    assert sold < union
    found = Recommender.open(tmp_path / "run", "alfa").recommend(history=sorted(sold)[:2], k=len(union))
    assert {entry.item for entry in found.items} == sold - set(sorted(sold)[:2])  # others rank well, but are not sold


def test_baskets_and_one_date_for_all(synthetic: Path, tmp_path: Path) -> None:
    """The two protocols whose test users and targets are of another kind, end to end."""
    methods = "evaluation.methods=[federated, local, popularity, itemknn, ease, fedease]"
    for name, settings in {
        "basket": ["evaluation.protocol=temporal", "evaluation.holdout=basket"],
        "global": ["evaluation.protocol=global-time", "evaluation.cut_date=2020-08-01"],
        "share": ["data.user_share=0.4"],
    }.items():
        summary = prepare_simulation(quick(methods, *settings), synthetic, tmp_path / name).start()
        assert not summary["failed"]
        for method in ("federated", "fedease", "popularity"):
            assert 0 < summary["mean"][method]["mrr@20"] < 1, (name, method)


def test_prior_on_the_sum_of_counts(synthetic: Path, tmp_path: Path) -> None:
    """prior.federated adds three views to federated, none to local."""
    recipe = quick("prior.federated=true", "semantics.kind=cooccurrence")
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    import json

    mixing = json.loads((tmp_path / "run" / "markets" / "alfa" / "mixing.json").read_text())
    assert {name: len(weights) for name, weights in mixing.items()} == {"federated": 10, "local": 7, "prior": 6}


def test_nothing_is_summed_for_nobody(synthetic: Path, tmp_path: Path) -> None:
    """prior.federated is for models that federate: without one, no counts leave."""
    recipe = quick("prior.federated=true", "evaluation.methods=[local, popularity]")
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    assert not [e for e in read_json_lines(tmp_path / "run" / "ledger.jsonl") if e["action"] == "query.gram"]


def test_sparse_matrices_keep_the_latest_of_a_repeated_item() -> None:
    from fedrec.data.sequences import Sequences

    day = 86400
    sequences = Sequences(np.array([0, 3]), np.array([1, 0, 1]), np.array([0, 2 * day, 4 * day]), 2)
    matrix = sequences.matrix(half_life_days=2)
    assert isinstance(matrix, sparse.csr_matrix)
    assert matrix.toarray().tolist() == [[0.5, 1.0]]
    assert sequences.matrix().toarray().tolist() == [[1.0, 1.0]]
