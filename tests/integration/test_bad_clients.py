"""Markets that fail or lie: rejected with a reason; the others go on, and the result is as if nobody had asked them."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord

from fedrec.clients.admission import admit
from fedrec.clients.node import MarketNode
from fedrec.data.store import open_store
from fedrec.errors import RunError
from fedrec.exchange.declaration import HELLO
from fedrec.files import read_json_lines
from fedrec.runs.folder import RunFolder
from tests.integration.harness import WatchedApp, quick, run_with

ARRAY = "encoder.norm.weight"
LAST_ROUND = "checkpoints/pretrain/round-000003/shared.safetensors"


def spoil_array(change: object) -> object:
    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "train.pretrain":
            record = reply.content.array_records["arrays"]
            record[ARRAY] = Array(np.asarray(change(record[ARRAY].numpy())))  # type: ignore[operator]
        return reply

    return spoil


def spoil_weight(weight: float) -> object:
    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "train.pretrain":
            reply.content.metric_records["scalars"]["weight"] = weight
        return reply

    return spoil


def raising(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        raise RuntimeError("user u-17 bought item-00003")
    return reply


def error_reply(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        return Message(Error(1000, "out of memory"), reply_to=question)
    return reply


def wrong_key(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        arrays = dict(reply.content.array_records["arrays"].items())
        arrays["encoder.secret"] = arrays.pop(ARRAY)
        reply.content["arrays"] = ArrayRecord(arrays)
    return reply


def wrong_round(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        reply.metadata.__dict__["_group_id"] = "99"
    return reply


def no_arrays(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        del reply.content["arrays"]
    return reply


def a_word_for_a_weight(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        reply.content["scalars"] = MetricRecord({"weight": [1.0, 2.0]})
    return reply


def spoil_scalar(name: str, value: float | None) -> object:
    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "train.pretrain":
            scalars = dict(reply.content.metric_records["scalars"].items())
            scalars.pop(name, None)
            reply.content["scalars"] = MetricRecord(scalars | ({} if value is None else {name: value}))
        return reply

    return spoil


def odd_round(question: Message, reply: Message) -> Message:
    if question.metadata.message_type == "train.pretrain":
        reply.metadata.__dict__["_group_id"] = "²"
    return reply


SPOILT = {
    "raises": (raising, "RuntimeError"),
    "error": (error_reply, "out of memory"),
    "nan": (spoil_array(lambda w: w * np.float32("nan")), "not finite"),
    "infinite": (spoil_array(lambda w: w + np.float32("inf")), "not finite"),
    "wrong shape": (spoil_array(lambda w: w[:1]), "shape (1,), expected (16,)"),
    "wrong type": (spoil_array(lambda w: w.astype(np.float64)), "dtype float64"),
    "pickled": (spoil_array(lambda w: w.astype("datetime64[s]")), "dtype datetime64"),
    "too far": (spoil_array(lambda w: w + 1e6), "above the bound"),
    "wrong key": (wrong_key, "unknown ['encoder.secret']"),
    "no arrays": (no_arrays, "keys: missing"),
    "wrong round": (wrong_round, "round 99, expected"),
    "list for a scalar": (a_word_for_a_weight, "undecodable reply"),
    "no validation": (spoil_scalar("validation", None), "validation: missing"),
    "too good to be true": (spoil_scalar("validation", 1e6), "not in [0, 1]"),
    "endless training": (spoil_scalar("seconds", 1.7e308), "not in [0, 1e+12]"),
    "undeclared scalar": (spoil_scalar("user-7", 1.0), "scalar 'user-7' is not declared"),
    "odd round": (odd_round, "round -1, expected"),
    "negative weight": (spoil_weight(-5.0), "weight -5.0"),
    "zero weight": (spoil_weight(0.0), "weight 0.0"),
    "infinite weight": (spoil_weight(float("inf")), "weight inf"),
    "nan weight": (spoil_weight(float("nan")), "weight nan"),
}


@pytest.fixture(scope="module")
def without_bravo(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The average of the last round of a run in which bravo never took part."""
    out = tmp_path_factory.mktemp("without") / "run"
    run_with(WatchedApp(), quick("data.markets=[alfa, charlie]", "evaluation.methods=[federated]"), synthetic, out)
    return (out / LAST_ROUND).read_bytes()


@pytest.mark.parametrize(("spoil", "reason"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_reply_changes_nothing_but_the_record(
    spoil: object, reason: str, synthetic: Path, tmp_path: Path, without_bravo: bytes
) -> None:
    """bravo spoils every round; every average must be, bit for bit, that of a federation without bravo."""
    recipe = quick("evaluation.methods=[federated]")
    summary = run_with(WatchedApp("bravo", spoil), recipe, synthetic, tmp_path / "run")  # type: ignore[arg-type]
    for record in summary["rounds"]:
        assert record["accepted"] == ["alfa", "charlie"]
        assert [rejection["market"] for rejection in record["rejected"]] == ["bravo"]
        assert reason in record["rejected"][0]["reason"]
    assert (tmp_path / "run" / LAST_ROUND).read_bytes() == without_bravo


def test_all_failing_ends_the_run(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("data.markets=[alfa]")
    with pytest.raises(RunError, match="below quorum 3 times in a row; alfa: weight nan"):
        run_with(WatchedApp("alfa", spoil_weight(float("nan"))), recipe, synthetic, tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "summary.json").exists()


def test_below_quorum_the_round_is_skipped(synthetic: Path, tmp_path: Path) -> None:
    """One of three fails where all are demanded: nothing is averaged, and after three rounds the run is given up."""
    recipe = quick("federation.quorum=1")
    with pytest.raises(RunError, match="below quorum"):
        run_with(WatchedApp("bravo", error_reply), recipe, synthetic, tmp_path / "run")
    rounds = [event for event in read_json_lines(tmp_path / "run" / "events.jsonl") if event["event"] == "round"]
    assert [record["accepted"] for record in rounds] == [["alfa", "charlie"]] * 3
    checkpoint = RunFolder(tmp_path / "run").last_checkpoint()
    assert checkpoint is not None
    assert checkpoint.state["made_in"] == 0


def test_an_exception_text_does_not_leave_the_market(synthetic: Path, tmp_path: Path) -> None:
    """The client's own failure: its data vanishes between rounds. The reply names the kind of error, not its words."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(synthetic, data)
    app = WatchedApp()
    honest = app.spoil

    def vanish(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "query.hello":
            (data / "bravo" / "items.parquet").write_bytes(b"rows of u-17")
        return honest(question, reply)

    app.victim, app.spoil = "bravo", vanish
    summary = run_with(app, quick(), data, tmp_path / "run")
    errors = {reply.error.reason for reply in app.seen if reply.has_error()}
    assert errors == {"UserError (details in the market's own log)"}
    assert str(data) in (tmp_path / "run" / "markets" / "bravo" / "client.log").read_text()
    assert {entry["market"] for entry in summary["failed"]} == {"bravo"}
    assert summary["markets"]["alfa"]["results"]


def test_a_market_cannot_drown_the_others_in_keys(synthetic: Path, tmp_path: Path) -> None:
    def shout(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "query.catalogue":
            reply.content.config_records["texts"]["items"] = ["x" * 100_000]
        return reply

    with pytest.raises(RunError, match="'bravo': its catalogue cannot be: items has 1 keys of up to 100000 characters"):
        run_with(WatchedApp("bravo", shout), quick("semantics.kind=cooccurrence"), synthetic, tmp_path / "run")


def test_a_market_loads_no_encoder_that_its_operator_did_not_name(synthetic: Path, tmp_path: Path) -> None:
    """The coordinator's recipe names another folder than the node's configuration."""
    recipe = quick("semantics.kind=model2vec", "semantics.model=/somewhere/else")
    node = MarketNode(open_store(synthetic / "alfa"), tmp_path, "/here")
    with pytest.raises(RunError, match=r"'/somewhere/else' is not what this market loads"):
        admit(node, recipe, HELLO)
    admit(node, quick("semantics.kind=model2vec", "semantics.model=/here"), HELLO)
    admit(node, quick("semantics.kind=model2vec"), HELLO)


@pytest.mark.parametrize("size", ["users", "items"])
def test_a_market_of_nobody_cannot_take_part(synthetic: Path, tmp_path: Path, size: str) -> None:
    """Under privacy a market's size divides."""

    def shrink(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == "query.hello":
            reply.content["scalars"] = MetricRecord({**reply.content.metric_records["scalars"], size: 0.0})
        return reply

    with pytest.raises(RunError, match=f"market 'bravo': its hello says .*0 {size}"):
        run_with(WatchedApp("bravo", shrink), quick("privacy.epsilon=8"), synthetic, tmp_path / "run")
