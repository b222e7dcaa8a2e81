"""Runs under masks: the same models as without, whoever drops out; nothing but masked numbers leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Error, Message

from fedrec.clients import masks
from fedrec.clients.admission import admit
from fedrec.clients.app import app as client_app
from fedrec.clients.instruction import Instruction
from fedrec.clients.node import MarketNode
from fedrec.data.store import open_store
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.errors import RunError, UserError
from fedrec.exchange.declaration import HELLO
from fedrec.files import read_json_lines
from fedrec.masking.identity import write_identity
from fedrec.recipe import load_recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import read_shared_model
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK
from tests.integration.test_codes import FEDMM

COUNTED = [
    *QUICK,
    "semantics.kind=cooccurrence",
    "evaluation.methods=[federated, fedease]",
    "federation.rounds=1",  # Adam makes whole steps of the tiniest differences, so only the first sum can be compared
]
HASHED = [*QUICK, "semantics.kind=hashing", "evaluation.methods=[federated]", "masks.enabled=true"]
MASKED_ACTIONS = {"train.pretrain", "train.codebook", "query.catalogue", "query.gram"}


def start(
    name: str, overrides: list[str], data: Path, out: Path, app: Any = "fedrec.clients.app:app"
) -> dict[str, Any]:
    return prepare_simulation(load_recipe(name, overrides), data, out).start(client_app=app)


class Failing:
    """The markets' app; one market fails at some actions."""

    def __init__(self, market: str, *actions: str) -> None:
        self.market, self.actions = market, actions

    def __call__(self, message: Message, context: Context) -> Message:
        if context.node_config["market"] == self.market and message.metadata.message_type in self.actions:
            return Message(Error(1, "gone"), reply_to=message)
        return client_app(message, context)


@pytest.fixture(scope="module")
def plain(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    start("fecosr", COUNTED, synthetic, out)
    return out


@pytest.fixture(scope="module")
def masked(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("masked") / "run"
    start("fecosr", [*COUNTED, "masks.enabled=true"], synthetic, out)
    return out


def test_the_sums_are_those_without_masks(plain: Path, masked: Path) -> None:
    """Parameters to the rounding of the ring, item vectors and counts to the bit."""
    first, second = (RunFolder(path).last_checkpoint() for path in (plain, masked))
    assert first is not None
    assert second is not None
    for name, value in first.arrays["shared"].items():
        np.testing.assert_allclose(second.arrays["shared"][name], value, atol=1e-6)
    theirs, ours = read_shared_model(plain / "shared"), read_shared_model(masked / "shared")
    assert ours.items is not None
    assert theirs.items is not None
    assert ours.items.keys == theirs.items.keys
    np.testing.assert_array_equal(ours.items.vectors, theirs.items.vectors)
    for market in ("alfa", "bravo", "charlie"):
        name = f"markets/{market}/gram.safetensors"
        assert (masked / name).read_bytes() == (plain / name).read_bytes()


def test_nothing_but_integers_under_masks_leaves(masked: Path) -> None:
    arrays = [line for line in read_json_lines(masked / "ledger.jsonl") if line["kind"] == "array"]
    assert {line["action"] for line in arrays} == MASKED_ACTIONS - {"train.codebook"}
    assert {line["dtype"] for line in arrays} == {"uint32"}
    assert not list(masked.glob("markets/*/masks-*.json"))  # nothing is left to open
    record = json.loads((masked / "summary.json").read_text())["rounds"][0]
    assert record["drift"] is None  # made of single updates, which nobody has


def test_codebooks_are_summed_too(synthetic: Path, tmp_path: Path) -> None:
    options = [*FEDMM, "codes.alignment=gram", "evaluation.methods=[federated]"]
    for name, more in (("plain", []), ("masked", ["masks.enabled=true"])):
        start("fedmm", [*options, *more], synthetic, tmp_path / name)
    theirs, ours = (read_shared_model(tmp_path / name / "shared" / "codebook") for name in ("plain", "masked"))
    for name, value in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], value, atol=2e-4)


def test_private_runs_can_be_masked(synthetic: Path, tmp_path: Path) -> None:
    """Noised where they are made, then masked; the markets' accounts are those of the plan."""
    private = ["privacy.epsilon=8", "privacy.accountant=rdp", "privacy.batch_size=20", "masks.enabled=true"]
    summary = start("fecosr", [*COUNTED, *private], synthetic, tmp_path / "run")
    assert summary["privacy"]["epsilon"] <= 8
    assert all(record["accepted"] == ["alfa", "bravo", "charlie"] for record in summary["rounds"])
    arrays = [line for line in read_json_lines(tmp_path / "run" / "ledger.jsonl") if line["kind"] == "array"]
    assert all(line["dtype"] == "uint32" and line["provenance"].startswith("noised") for line in arrays)


RANKER = ["algorithm.hidden=8", "federation.rounds=2", "federation.patience=5", "ease.lambdas=[10]", "scores.kind=none"]


def test_statistics_and_a_ranker_are_summed_too(synthetic: Path, tmp_path: Path) -> None:
    """Every market learns the same of the others, and both kinds of rounds go on from sums."""
    options = [*RANKER, "evaluation.methods=[federated]", "evaluation.resamples=20"]
    for name, more in (("plain", []), ("masked", ["masks.enabled=true"])):
        start("ranker", [*options, *more], synthetic, tmp_path / name)
    ours, theirs = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("masked", "plain"))
    assert {one["stage"] for one in ours["rounds"]} == {"pretrain", "refit"}
    assert not any(one["rejected"] for one in ours["rounds"])
    for market in ("alfa", "bravo", "charlie"):
        name = f"markets/{market}/statistics.safetensors"
        assert (tmp_path / "masked" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    arrays = [line for line in read_json_lines(tmp_path / "masked" / "ledger.jsonl") if line["kind"] == "array"]
    assert {line["action"] for line in arrays} == {"query.statistics", "train.pretrain", "train.refit"}
    assert {line["dtype"] for line in arrays} == {"uint32"}
    shared, before = (read_shared_model(tmp_path / name / "shared").parameters for name in ("masked", "plain"))
    for name, value in before.items():
        np.testing.assert_allclose(shared[name], value, atol=2e-3)  # rounding of the ring, through Adam
    assert ours["mean"]["federated"]["ndcg@10"] == pytest.approx(theirs["mean"]["federated"]["ndcg@10"], abs=0.01)


def test_a_market_that_lies_about_its_counts_ends_the_run(synthetic: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """What cannot be read, and what is less than a market's own part of it, is told and not gone on with."""
    real = masks.table_of

    def lying(keys: Any, counts: Any, cells: int) -> Any:
        return real(keys, counts, cells) + np.uint32(1)

    monkeypatch.setattr(masks, "table_of", lying)
    options = [*RANKER, "evaluation.methods=[federated]", "masks.enabled=true"]
    with pytest.raises(RunError, match="the sum of the counts cannot be read"):
        start("ranker", options, synthetic, tmp_path / "run")


def test_a_market_subtracts_from_no_other_sum_than_the_one_it_opened(synthetic: Path, tmp_path: Path) -> None:
    """Else whether its own counts fit into a sum of the server's choice would tell what they are, cell by cell."""

    class Lowered:
        """A server that takes something out of the sum, or names other items, in one market."""

        def __init__(self, what: str) -> None:
            self.what = what

        def __call__(self, message: Message, context: Context) -> Message:
            content = message.content
            if context.node_config["market"] == "bravo" and message.metadata.message_type == "query.install":
                if self.what == "items":
                    union = list(content["texts"]["union"])
                    content["texts"]["union"] = [*union[:-1], "other"]
                else:
                    table = content["opened"]["table"].numpy().copy()
                    table[table[:, 0].nonzero()[0][0], 4] -= 1
                    content["opened"] = ArrayRecord({"table": Array(table)})
            return client_app(message, context)

    options = [*RANKER, "evaluation.methods=[federated]", "masks.enabled=true"]
    for what, said in (("table", "is not the sum that was opened"), ("items", "not the items that the statistics")):
        with pytest.raises(RunError, match=said):
            start("ranker", options, synthetic, tmp_path / what / "run", Lowered(what))
        assert not (tmp_path / what / "run" / "markets" / "bravo" / "statistics.safetensors").exists()


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("four") / "data"
    names = ("alfa", "bravo", "charlie", "delta")
    write_synthetic_markets(directory, SynthSettings(markets=names, users=40, items=50, topics=5, seed=5))
    return directory


@pytest.mark.parametrize("action", ["query.mask_keys", "query.mask_shares", "train.pretrain", "query.unmask"])
def test_a_market_may_drop_out_at_any_step(action: str, four: Path, tmp_path: Path) -> None:
    """Three of four are enough. Who fails before the sum is left out of it; who fails to open it was in it."""
    options = [
        *QUICK,
        "semantics.kind=hashing",
        "evaluation.methods=[federated]",
        "federation.rounds=1",
        "masks.enabled=true",
    ]
    summary = start("fecosr", options, four, tmp_path / "run", Failing("bravo", action))
    (record,) = summary["rounds"]
    others = ["alfa", "charlie", "delta"]
    assert record["accepted"] == (sorted([*others, "bravo"]) if action == "query.unmask" else others)
    assert [entry["market"] for entry in record["rejected"]] == ([] if action == "query.unmask" else ["bravo"])


class Leaving(Failing):
    """The markets' app; one market answers no round after the first."""

    def __call__(self, message: Message, context: Context) -> Message:
        kind, later = message.metadata.message_type, message.metadata.group_id != "1"
        if context.node_config["market"] == self.market and kind == "train.pretrain" and later:
            return Message(Error(1, "gone"), reply_to=message)
        return client_app(message, context)


def test_who_drops_out_takes_another_along_and_both_stay_away(tmp_path: Path) -> None:
    """Of six and seven markets a server would know the seventh. Stage two reaches all of them."""
    names = ("alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf")
    data = tmp_path / "data"
    write_synthetic_markets(data, SynthSettings(markets=names, users=40, items=50, topics=5, skew=0.95, seed=5))
    summary = start("fecosr", [*HASHED, "federation.patience=9"], data, tmp_path / "run", Leaving("bravo"))
    accepted = [record["accepted"] for record in summary["rounds"]]
    assert accepted[0] == list(names)
    assert len(accepted[1]) == 5
    assert accepted[1] == accepted[2]
    (other,) = set(names) - {"bravo"} - set(accepted[1])
    reasons = {one["market"]: one["reason"] for one in summary["rounds"][1]["rejected"]}
    assert reasons == {"bravo": "error 1: gone", other: "stays out with one that dropped out"}
    assert all(figures["results"] for figures in summary["markets"].values())


def test_of_few_markets_none_can_drop_out_after_a_sum(four: Path, tmp_path: Path) -> None:
    """Two of four are below the threshold: the rounds reveal nothing."""
    with pytest.raises(RunError, match="below quorum 3 times"):
        start("fecosr", [*HASHED, "federation.rounds=9"], four, tmp_path / "run", Leaving("bravo"))


@pytest.mark.parametrize("action", ["query.mask_keys", "query.mask_shares", "train.pretrain", "query.unmask"])
def test_below_the_threshold_the_round_fails(action: str, synthetic: Path, tmp_path: Path) -> None:
    """Of three markets all three are needed."""
    with pytest.raises(RunError, match="below quorum 3 times"):
        start("fecosr", HASHED, synthetic, tmp_path / "run", Failing("bravo", action))


def test_a_change_that_does_not_fit_keeps_the_market_out(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not fit.*; raise masks.range"):
        start("fecosr", [*HASHED, "masks.range=1e-6"], synthetic, tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("aggregator.kind=median", "masks hide"),
        ("aggregator.kind=trimmed_mean", "masks hide"),
        ("update.compression=int8", "cannot be compressed"),
        ("update.compression=top-k", "cannot be compressed"),
        ("federation.faults.late=0.1", "fits no later one"),
        ("federation.participation=0.5", "changing sets of markets"),
        ("federation.max_share=0.5", "federation.max_share"),
        ("masks.threshold=0.5", "masks.threshold"),
    ],
)
def test_what_masks_do_not_go_with(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe("fecosr", ["masks.enabled=true", override])


def test_the_same_update_is_not_summed_over_two_sets_of_markets(four: Path, tmp_path: Path) -> None:
    """A round done again, without a market that was there before: the difference of the sums would be its own."""
    overrides = [*HASHED, "federation.rounds=1"]
    start("fecosr", overrides, four, tmp_path / "first" / "run")
    again = prepare_simulation(load_recipe("fecosr", overrides), four, tmp_path / "second" / "run")
    for market in ("alfa", "bravo", "charlie", "delta"):
        for name in ("summed.jsonl", "identity"):
            target = tmp_path / "second" / "run" / "markets" / market / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tmp_path / "first" / "run" / "markets" / market / name, target)
    shutil.copytree(tmp_path / "first" / "run" / "keys", tmp_path / "second" / "run" / "keys")
    with pytest.raises(RunError, match="no round was accepted"):  # nobody helps to open its sum
        again.start(client_app=Failing("bravo", "train.pretrain"))
    events = (tmp_path / "second" / "run" / "events.jsonl").read_text()
    assert "summed before over other markets or weights" in events


def test_a_node_with_a_key_takes_part_in_nothing_else(four: Path, tmp_path: Path) -> None:
    """Whatever the coordinator says of masks, and of how few markets are enough."""
    store = open_store(four / "alfa")
    write_identity(tmp_path / "identity", tmp_path / "keys" / "alfa.pub")
    node = MarketNode(store, tmp_path / "run" / "markets" / "alfa", None, tmp_path / "identity", tmp_path / "keys", 3)
    with pytest.raises(RunError, match="masked sums alone"):
        admit(node, load_recipe("fecosr"), HELLO)
    recipe = load_recipe("fecosr", ["masks.enabled=true", "semantics.kind=hashing", "evaluation.protocol=temporal"])
    texts = {"action": ["train.pretrain"], "threshold": ["2"]}
    announced = masks.announce(node, Instruction(recipe, 1, {}, texts)).texts
    columns = {name: [str(announced[name])] * 2 for name in announced}
    with pytest.raises(RunError, match="threshold of 2 markets is refused; this node asks for 3"):
        masks.share(node, Instruction(recipe, 1, {}, {**texts, **columns, "market": ["alfa", "bravo"]}))


def test_the_union_of_a_protocol_that_ranks_all_catalogues(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synthetic_markets(data, SynthSettings(markets=("alfa", "bravo"), users=40, items=160, topics=5, seed=5))
    options = [*COUNTED, "evaluation.protocol=acmr"]
    for name, more in (("plain", []), ("masked", ["masks.enabled=true"])):
        start("fecosr", [*options, *more], data, tmp_path / name)
    for market in ("alfa", "bravo"):
        found = [(tmp_path / run / f"markets/{market}/gram.safetensors").read_bytes() for run in ("plain", "masked")]
        assert found[0] == found[1]
