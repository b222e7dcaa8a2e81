"""FedMM-style codes end to end: what leaves, what the codes share, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, Message
from safetensors.numpy import load_file

from fedrec.data.store import open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import RunError, UserError
from fedrec.files import read_json_lines
from fedrec.models.rqvae import RqVae
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.comparison import compare
from fedrec.runs.summary import comparable
from fedrec.simulation.recommend import Recommender
from fedrec.simulation.run import prepare_simulation
from fedrec.training.prepared import PreparedMarket
from tests.conftest import QUICK
from tests.integration.harness import WatchedApp, run_with

CODES = [
    "semantics.dimension=16",
    "collaborative.dimension=8",
    "collaborative.epochs=5",
    "codes.global_levels=[8]",
    "codes.local_levels=[4]",
    "codes.dimension=8",
    "codes.hidden=16",
    "codes.rounds=4",
    "codes.refine=1",
    "codes.epochs=2",
]
FEDMM = [*CODES, "ctr.epochs=2", "ctr.dimension=4", "evaluation.resamples=20"]
SEQUENCES = [*QUICK, *CODES, "evaluation.methods=[federated, local, nocodes, randomcodes, pooled, popularity]"]
METHODS = {"federated", "local", "nocodes", "randomcodes"}
ALIGNMENTS = ["gram", "layered", "semantic", "procrustes", "none"]


def fedmm(*overrides: str) -> Recipe:
    return load_recipe("fedmm", [*FEDMM, *overrides])


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run under `gram`, of which most leaves."""
    out = tmp_path_factory.mktemp("codes") / "run"
    prepare_simulation(fedmm("codes.alignment=gram"), synthetic, out).start()
    return out


@pytest.fixture(scope="module")
def wider(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same under another recipe."""
    out = tmp_path_factory.mktemp("codes") / "wider"
    prepare_simulation(
        fedmm("codes.alignment=gram", "ctr.dimension=6", "evaluation.methods=[federated]"), synthetic, out
    ).start()
    return out


def test_the_summary_has_every_method_and_its_intervals(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary["mean"]) == METHODS
    assert summary["protocol"] == "ctr"
    assert [record["stage"] for record in summary["rounds"]] == ["codebook"] * 4
    for figures in summary["markets"].values():
        assert all({"auc", "gauc", "logloss"} == set(metrics) for metrics in figures["results"].values())
        gain = figures["gain"]["auc"]
        difference = figures["results"]["federated"]["auc"] - figures["results"]["local"]["auc"]
        assert gain["mean"] == pytest.approx(difference, abs=1e-12)
        assert gain["low"] <= gain["high"]
        assert set(figures["differences"]["federated"]) == METHODS - {"federated"}
    assert not summary["failed"]


def test_codebook_rounds_know_trouble_too(synthetic: Path, tmp_path: Path) -> None:
    faults = ["federation.faults.dropout=0.3", "federation.faults.late=0.3", "federation.quorum=0.3"]
    recipe = fedmm("codes.alignment=gram", "codes.rounds=6", "evaluation.methods=[federated]", *faults)
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    reasons = [one["reason"] for record in summary["rounds"] for one in record["rejected"]]
    assert any(reason == "no reply" for reason in reasons)
    assert any("expected" in reason for reason in reasons)  # an answer of the round before
    assert summary["mean"]["federated"]["auc"] > 0


@pytest.mark.parametrize("metric", ["auc", "gauc", "logloss"])
def test_runs_are_compared_by_what_users_add_to_the_figures(finished: Path, wider: Path, metric: str) -> None:
    """Paired in every market, though these metrics are of instances and not of users."""
    for one in compare([finished, wider], metric, "federated").differences[:-1]:
        figures = [
            json.loads((run / "summary.json").read_text())["markets"][one.market]["results"]["federated"][metric]
            for run in (finished, wider)
        ]
        assert abs(one.mean) == pytest.approx(abs(figures[0] - figures[1]))
        users = load_file(finished / "markets" / one.market / "per_user.safetensors")["users"]
        assert one.count == len(np.unique(users)) < len(users)
        assert 0 < one.p <= 1


def test_the_ledger_holds_encoders_and_statistics_and_no_vector(finished: Path, synthetic: Path) -> None:
    """No array has as many rows as there are users or items, and no vector of either lies in what a peer receives."""
    entries = read_json_lines(finished / "ledger.jsonl")
    rounds = [entry for entry in entries if entry["action"] == "train.codebook" and entry["kind"] == "array"]
    assert {entry["name"] for entry in rounds} >= {"statistics.count.0", "statistics.sum.0", "encoder.linear.weight"}
    assert all(entry["name"].startswith(("encoder.", "decoder.", "statistics.")) for entry in rounds)
    others = {entry["action"] for entry in entries if entry["kind"] == "array"} - {"train.codebook"}
    assert others == {"query.catalogue"}  # the counts of pairs
    sizes = {size for store in open_stores(synthetic) for size in (store.users, store.items)}
    assert not [entry for entry in rounds if entry["shape"][0] in sizes]
    sent = b"".join(path.read_bytes() for path in (finished / "shared").rglob("*.safetensors"))
    for path in finished.glob("markets/*/collaborative.safetensors"):
        for name, array in load_file(path).items():
            windows = [row.tobytes() for row in array] if name in {"users", "items"} else []
            assert not [window for window in windows if any(window) and window in sent]


def test_small_codes_are_not_told(synthetic: Path, tmp_path: Path) -> None:
    """Every count that leaves is zero or at least `min_count`; where it is zero, so is the sum."""
    app = WatchedApp()
    run_with(app, fedmm("codes.alignment=gram", "codes.min_count=4"), synthetic, tmp_path / "run")
    replies = [reply for reply in app.seen if reply.metadata.message_type == "train.codebook"]
    assert len(replies) == 12
    told = 0
    for reply in replies:
        arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
        count, total = arrays["statistics.count.0"], arrays["statistics.sum.0"]
        assert ((count == 0) | (count >= 4)).all()
        assert not total[count == 0].any()
        told += int((count > 0).sum())
    assert told > 12


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["engine.workers=2", "engine.kind=ray"])
def test_every_engine_gives_the_same_codes(engine: str, finished: Path, synthetic: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary = prepare_simulation(fedmm("codes.alignment=gram", engine), synthetic, out).start()
    assert comparable(summary) == comparable(json.loads((finished / "summary.json").read_text()))
    for name in ("codes-federated.safetensors", "codes-local.safetensors", "ctr-federated.safetensors"):
        path = Path("markets") / "bravo" / name
        assert (out / path).read_bytes() == (finished / path).read_bytes()


def agreement(run: Path, data: Path) -> tuple[float, float]:
    """How often two markets give a shared item the same common code, and how often by chance (same use of codes)."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    codes, keys = {}, {}
    for store in open_stores(data):
        keys[store.name] = PreparedMarket(store, recipe).items
        found = load_file(run / "markets" / store.name / "codes-federated.safetensors")["items"][:, 0]
        codes[store.name] = dict(zip(keys[store.name], found.tolist(), strict=True))
    size = recipe.codes.global_levels[0]
    equal = chance = pairs = 0.0
    names = sorted(codes)
    for one in names:
        for other in (name for name in names if name > one):
            both = [
                (codes[one][key], codes[other][key])
                for key in codes[one].keys() & codes[other].keys()
                if codes[one][key] < size and codes[other][key] < size
            ]
            shares = [np.bincount([pair[side] for pair in both], minlength=size) / len(both) for side in (0, 1)]
            equal += sum(first == second for first, second in both)
            chance += float(shares[0] @ shares[1]) * len(both)
            pairs += len(both)
    return equal / pairs, chance / pairs


@pytest.fixture(scope="module")
def kindred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three markets that sell the same items to people of the same taste, and know each item well."""
    data = tmp_path_factory.mktemp("kindred") / "data"
    write_synthetic_markets(
        data, SynthSettings(("alfa", "bravo", "charlie"), 400, 60, 6, 12.0, overlap=1.0, heterogeneity=0.0, skew=0.9)
    )
    return data


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_codes_mean_the_same_in_every_market_unless_nothing_aligns_them(
    alignment: str, kindred: Path, tmp_path: Path
) -> None:
    settings = ["evaluation.methods=[federated]", "collaborative.epochs=60", "collaborative.dimension=16"]
    recipe = fedmm(f"codes.alignment={alignment}", *settings, "codes.rounds=8")
    prepare_simulation(recipe, kindred, tmp_path / "run").start()
    equal, chance = agreement(tmp_path / "run", kindred)
    assert chance < 0.5
    if alignment in {"gram", "layered", "semantic"}:  # the same input everywhere: the same code
        assert equal == 1.0
    elif alignment == "procrustes":  # each market's own vectors, turned: alike, not equal
        assert equal > 1.5 * chance
    else:  # what is left is that a popular item has a longer vector everywhere
        assert equal < chance + 0.15


def test_with_disjoint_ids_no_item_key_leaves(synthetic: Path, tmp_path: Path) -> None:
    app = WatchedApp()
    run_with(app, fedmm("codes.share_keys=false"), synthetic, tmp_path / "run")
    texts = {entry["name"] for entry in read_json_lines(tmp_path / "run" / "ledger.jsonl") if entry["kind"] == "text"}
    assert texts == {"market", "device"}
    seen = b"".join(
        str(item).encode() for reply in app.seen for record in reply.content.values() for item in record.values()
    )
    assert not [key for store in open_stores(synthetic) for key in store.catalogue["item_id"] if key.encode() in seen]


def spoil(name: str, change: object) -> object:
    def spoiled(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "train.codebook":
            record = reply.content.array_records["arrays"]
            record[name] = Array(np.ascontiguousarray(change(record[name].numpy())))  # type: ignore[operator]
        return reply

    return spoiled


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("statistics.sum.0", lambda a: a * np.nan, "not finite"),
        ("statistics.count.0", lambda a: a - 1000, "cannot be"),
        ("statistics.count.0", lambda a: a[:-1], "shape"),
        ("statistics.sum.0", lambda a: a * 1e9, "longer than"),
        ("encoder.linear.weight", lambda a: a + np.float32(np.inf), "not finite"),
    ],
)
def test_a_market_that_lies_is_left_out(name: str, change: object, words: str, synthetic: Path, tmp_path: Path) -> None:
    """Its replies are refused with a reason; the others' codebook stays finite."""
    app = WatchedApp("bravo", spoil(name, change))  # type: ignore[arg-type]
    summary = run_with(app, fedmm("codes.alignment=gram"), synthetic, tmp_path / "run")
    for record in summary["rounds"]:
        assert [one["market"] for one in record["rejected"]] == ["bravo"]
        assert words in record["rejected"][0]["reason"]
    shared = load_file(tmp_path / "run" / "shared" / "codebook" / "model.safetensors")
    assert all(np.isfinite(array).all() for array in shared.values())


def test_an_unasked_statistic_is_refused(synthetic: Path, tmp_path: Path) -> None:
    def smuggle(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "train.codebook":
            reply.content.array_records["arrays"]["statistics.users"] = Array(np.zeros(3, np.float32))
        return reply

    summary = run_with(WatchedApp("bravo", smuggle), fedmm("codes.alignment=gram"), synthetic, tmp_path / "run")
    assert "unknown ['users']" in summary["rounds"][0]["rejected"][0]["reason"]


def test_keys_are_not_sent_to_a_coordinator_that_may_not_have_them(synthetic: Path, tmp_path: Path) -> None:
    """The market reads the recipe itself: asked for its catalogue under one that shares none, it refuses."""
    from fedrec.clients.messages import Instruction
    from fedrec.clients.node import MarketNode
    from fedrec.clients.tasks import catalogue

    recipe = fedmm("codes.share_keys=false").resolved(False, True)
    node = MarketNode(open_stores(synthetic)[0], tmp_path)
    with pytest.raises(RunError, match="shares no item keys"):
        catalogue(node, Instruction(recipe, 0, {}, {}))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["codes.global_levels=[]", "codes.local_levels=[]"], "both empty"),
        (["codes.global_levels=[0]"], "global_levels"),
        (["codes.alignment=gram", "codes.share_keys=false"], "share the keys"),
        (["codes.alignment=gram", "semantics.kind=hashing"], "in conflict"),
        (["codes.alignment=layered", "semantics.kind=cooccurrence"], "needs texts"),
        (["semantics.kind=cooccurrence", "codes.share_keys=false"], "share the keys"),
        (["evaluation.methods=[federated, ease]"], "not of algorithm.kind 'fedmm'"),
        (["evaluation.protocol=family"], "does not fit algorithm"),
        (["algorithm.kind=fecosr", "evaluation.methods=[nocodes]"], "not of algorithm.kind 'fecosr'"),
    ],
)
def test_keys_at_odds_are_named(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fedmm(*overrides)


def test_more_codes_than_items(synthetic: Path, tmp_path: Path) -> None:
    """Every item can have its own: copies lie beside, nothing breaks, unused codes are counted."""
    recipe = fedmm("codes.alignment=gram", "codes.global_levels=[200]", "codes.local_levels=[100]")
    summary = prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    assert not summary["failed"]
    lines = read_json_lines(tmp_path / "run" / "events.jsonl")
    (stage,) = [line for line in lines if line["event"] == "stage_done" and line["action"] == "train.codes"]
    assert stage["results"]["alfa"]["federated.dead.0"] > 100


def test_several_levels_of_either_kind(synthetic: Path, tmp_path: Path) -> None:
    recipe = fedmm("codes.global_levels=[8, 6]", "codes.local_levels=[4, 3]", "ctr.backbone=din", "codes.decay=0.5")
    prepare_simulation(recipe, synthetic, tmp_path / "run").start()
    codes = load_file(tmp_path / "run" / "markets" / "alfa" / "codes-federated.safetensors")["items"]
    assert codes.shape[1] == 4
    shared = load_file(tmp_path / "run" / "shared" / "codebook" / "model.safetensors")
    assert [shared[f"codebook.{level}"].shape for level in range(2)] == [(8, 8), (6, 8)]
    assert set(shared) == {"codebook.0", "codebook.1"} | {n for n in shared if n.startswith(RqVae.groups.shared)}


@pytest.fixture(scope="module")
def sequences(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sequences") / "run"
    prepare_simulation(load_recipe("codes", SEQUENCES), synthetic, out).start()
    return out


def test_sequences_on_codes(sequences: Path, synthetic: Path) -> None:
    """Two federations in one run; the embeddings of the common codes travel, those of own codes do not."""
    summary = json.loads((sequences / "summary.json").read_text())
    assert {"federated", "local", "nocodes", "randomcodes", "pooled", "popularity"} <= set(summary["mean"])
    assert [record["stage"] for record in summary["rounds"]] == ["codebook"] * 4 + ["pretrain"] * 3
    entries = read_json_lines(sequences / "ledger.jsonl")
    pretrained = {entry["name"]: entry["shape"] for entry in entries if entry["action"] == "train.pretrain"}
    assert pretrained["adaptor.levels.0.weight"] == [9, 16]
    own = load_file(sequences / "markets" / "alfa" / "federated.safetensors")
    assert own["adaptation.levels.0"].shape == (5, 16)
    assert not [name for name in pretrained if name.startswith("adaptation.")]
    found = Recommender.open(sequences, "alfa").recommend(user="alfa-00003")
    assert found.method == "federated"
    assert len(found.items) == 10


def test_such_runs_cannot_be_adapted_or_asked_for_clicks(
    sequences: Path, finished: Path, synthetic: Path, tmp_path: Path
) -> None:
    from fedrec.simulation.adapt import prepare_adaptation

    with pytest.raises(UserError, match="its own federation alone"):
        prepare_adaptation(sequences, synthetic, tmp_path / "adapted")
    with pytest.raises(UserError, match="ranks nothing"):
        Recommender.open(finished, "alfa").recommend(user="alfa-00003")
