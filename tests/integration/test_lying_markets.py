"""A market that lies about its size, its catalogue, its device or its figures: how far it gets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord

from fedrec.data.store import open_store
from fedrec.errors import RunError
from fedrec.files import read_json_lines
from fedrec.recipe import load_recipe
from fedrec.report.words import answer, remarks
from tests.conftest import QUICK
from tests.integration.harness import Spoil, WatchedApp, quick, run_with

KEYS = 300_000


def texts(action: str, **changes: object) -> Spoil:
    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == action:
            known = dict(reply.content.config_records["texts"].items())
            reply.content["texts"] = ConfigRecord({**known, **changes})  # type: ignore[dict-item]
        return reply

    return spoil


def scalars(action: str, **changes: float) -> Spoil:
    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == action:
            known = dict(reply.content.metric_records["scalars"].items())
            reply.content["scalars"] = MetricRecord({**known, **changes})
        return reply

    return spoil


def both(*hands: Spoil) -> Spoil:
    def spoil(question: Message, reply: Message) -> Message:
        for hand in hands:
            reply = hand(question, reply)
        return reply

    return spoil


@pytest.mark.parametrize("settings", [[], ["privacy.epsilon=8"]], ids=["plain", "private"])
def test_nobody_weighs_more_than_it_said_at_hello(settings: list[str], synthetic: Path, tmp_path: Path) -> None:
    """1e9 would be 99.99 % of the average. Under privacy a market weighs its users, not its interactions."""
    recipe = quick("evaluation.methods=[federated]", *settings)
    liar = WatchedApp("bravo", scalars("train.pretrain", weight=1e9))
    summary = run_with(liar, recipe, synthetic, tmp_path / "run")
    for record in summary["rounds"]:
        assert record["accepted"] == ["alfa", "charlie"]
        (rejected,) = record["rejected"]
        assert rejected["reason"].startswith("weight 1e+09 is more than the ")


def test_nobody_weighs_more_than_it_said_under_masks_either(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("evaluation.methods=[federated]", "masks.enabled=true", "semantics.kind=hashing")
    liar = WatchedApp("bravo", texts("query.mask_keys", weight="1000000000.0"))
    with pytest.raises(RunError, match=r"bravo: .*weight 1000000000.0 is more than the \d+ of its hello"):
        run_with(liar, recipe, synthetic, tmp_path / "run")


def test_who_lies_at_hello_too_has_at_most_its_share(synthetic: Path, tmp_path: Path) -> None:
    """With ``federation.max_share`` .4 two honest markets keep .6 of every average, whatever bravo says."""
    lie = both(scalars("query.hello", interactions=1e9), scalars("train.pretrain", weight=1e9))
    drift = {}
    for share in (0.4, 1.0):
        recipe = quick("evaluation.methods=[federated]", f"federation.max_share={share}", "federation.rounds=1")
        summary = run_with(WatchedApp("bravo", lie), recipe, synthetic, tmp_path / f"run-{share}")
        assert summary["rounds"][0]["accepted"] == ["alfa", "bravo", "charlie"]
        drift[share] = (tmp_path / f"run-{share}" / "shared" / "model.safetensors").read_bytes()
    assert drift[0.4] != drift[1.0]


@pytest.mark.parametrize(
    ("action", "settings"),
    [
        ("query.catalogue", ["semantics.kind=cooccurrence"]),
        ("query.gram", ["evaluation.methods=[fedease]"]),
        ("query.vocabulary", ["evaluation.catalogue=union"]),
        ("query.vocabulary", ["evaluation.methods=[fedease]", "masks.enabled=true"]),
        ("query.vocabulary", ["algorithm.kind=acmr", "training.weight_decay=0"]),
    ],
)
def test_nobody_drowns_the_others_in_keys(action: str, settings: list[str], synthetic: Path, tmp_path: Path) -> None:
    """A market said how many items it has; more keys than that are refused in words, before anything is computed."""
    flood = texts(action, items=[f"k{number}" for number in range(KEYS)])
    with pytest.raises(RunError, match=rf"'bravo': its catalogue cannot be: items has {KEYS} keys .* at most \d+"):
        run_with(WatchedApp("bravo", flood), quick(*settings), synthetic, tmp_path / "run")


def test_nobody_sells_more_than_it_said_where_all_rank_the_union(synthetic: Path, tmp_path: Path) -> None:
    """To rank what others sell is no reason to sell as much as all of them: one key more than its hello is refused."""
    own = open_store(synthetic / "bravo").items
    flood = texts("query.vocabulary", items=[f"k{number}" for number in range(own + 1)])
    with pytest.raises(RunError, match=rf"'bravo': .* items has {own + 1} keys .* at most {own} of"):
        run_with(WatchedApp("bravo", flood), quick("evaluation.catalogue=union"), synthetic, tmp_path / "run")


def arrays(action: str, change: Callable[[dict[str, np.ndarray]], None]) -> Spoil:
    """``change`` alters what a market sends, in place."""

    def spoil(question: Message, reply: Message) -> Message:
        if question.metadata.message_type == action:
            ((name, record),) = reply.content.array_records.items()
            known = {key: array.numpy().copy() for key, array in record.items()}
            change(known)
            reply.content[name] = ArrayRecord({key: Array(array) for key, array in known.items()})
        return reply

    return spoil


def more_than_there_are(sent: dict[str, np.ndarray]) -> None:
    """Every number of the statistic that counts."""
    for name, array in sent.items():
        if name in {"count", "pairs"} or "count." in name:
            array[:] = 10**6


@pytest.mark.parametrize(
    ("action", "settings", "why"),
    [
        ("query.catalogue", ["semantics.kind=cooccurrence"], r"counted 1000000 times, of \d+ users"),
        ("query.gram", ["evaluation.methods=[fedease]"], r"counted 1000000 times, of \d+ users"),
        ("query.catalogue", ["semantics.kind=cooccurrence", "privacy.epsilon=8"], "noised pairs of up to 1e"),
        ("query.gram", ["evaluation.methods=[fedease]", "privacy.epsilon=8"], "noised pairs of up to 1e"),
    ],
)
def test_nobody_counts_more_users_than_it_has(
    action: str, settings: list[str], why: str, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=f"'bravo': .*{why}"):
        run_with(
            WatchedApp("bravo", arrays(action, more_than_there_are)), quick(*settings), synthetic, tmp_path / "run"
        )


def test_nobody_encodes_more_items_than_it_has(synthetic: Path, tmp_path: Path) -> None:
    codes = ["codes.rounds=1", "codes.epochs=1", "collaborative.epochs=1", "ctr.epochs=1", "codes.refine=0"]
    recipe = load_recipe("fedmm", [*QUICK, *codes, "evaluation.methods=[federated]"])
    run_with(WatchedApp("bravo", arrays("train.codebook", more_than_there_are)), recipe, synthetic, tmp_path / "run")
    events = read_json_lines(tmp_path / "run" / "events.jsonl")
    (rejected,) = (one for event in events for one in event.get("rejected", []))
    assert rejected["market"] == "bravo"
    assert "more than the" in rejected["reason"]


def test_a_catalogue_larger_than_the_recipe_takes_is_refused_at_hello(synthetic: Path, tmp_path: Path) -> None:
    liar = WatchedApp("bravo", scalars("query.hello", items=2e6))
    with pytest.raises(RunError, match=r"'bravo': 2000000 items; federation\.max_items takes 200000"):
        run_with(liar, quick(), synthetic, tmp_path / "run")


def test_pairs_of_too_many_items_are_refused_before_memory_is_asked_for(synthetic: Path, tmp_path: Path) -> None:
    """Noised pairs come dense: of 31,000 items they would take four gigabytes."""
    keys = [f"k{number:06d}" for number in range(31_000)]
    flood = both(scalars("query.hello", items=31_000.0), texts("query.catalogue", items=keys))
    recipe = quick("semantics.kind=cooccurrence", "privacy.epsilon=8")
    with pytest.raises(RunError, match="do not fit"):
        run_with(WatchedApp("bravo", flood), recipe, synthetic, tmp_path / "run")


@pytest.mark.parametrize("key", ["a\x1b[2Jb", "line\nbreak", "\u2028", "a\u202eb", "a\u200bb"])
def test_keys_that_a_terminal_would_obey_are_refused(key: str, synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="characters that nobody sees"):
        run_with(
            WatchedApp("bravo", texts("query.catalogue", items=[key])),
            quick("semantics.kind=cooccurrence"),
            synthetic,
            tmp_path / "run",
        )


def test_a_text_of_megabytes_is_not_kept(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a text of 5000000 characters where at most 100 are taken") as error:
        run_with(
            WatchedApp("bravo", texts("query.hello", device="x" * 5_000_000)), quick(), synthetic, tmp_path / "run"
        )
    assert len(str(error.value)) < 300


def test_what_a_terminal_would_obey_is_taken_out_of_texts(synthetic: Path, tmp_path: Path) -> None:
    """Once, where they enter: neither summary nor events nor what is printed have it."""
    device = "cpu\x1b]0;owned\x07\x1b[2J\n\u202egpu"
    recipe = quick("evaluation.methods=[popularity]")
    summary = run_with(WatchedApp("bravo", texts("query.hello", device=device)), recipe, synthetic, tmp_path / "run")
    assert summary["device"] == "cpu+cpu ]0;owned [2J gpu"
    everything = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("*.json*"))
    assert not {b"\\u001b", b"\\u202e", b"\\u0007"} & {everything[i : i + 6] for i in range(len(everything))}


def test_a_name_that_cannot_be_is_said_in_a_line(synthetic: Path, tmp_path: Path) -> None:
    liar = WatchedApp("bravo", scalars("train.pretrain", **{"x" * 100_000: 1.0, "y\x1b[2J": 1.0}))
    summary = run_with(liar, quick("evaluation.methods=[federated]"), synthetic, tmp_path / "run")
    (rejected,) = summary["rounds"][0]["rejected"]
    assert rejected["reason"] == "undecodable reply (a name too long or not printable)"


# figures


def untrained_is_best(question: Message, reply: Message) -> Message:
    """The first model was perfect, every later one is useless: so says one market."""
    if question.metadata.message_type == "train.pretrain":
        first = question.metadata.group_id == "1"
        return scalars("train.pretrain", validation=1.0 if first else 0.0)(question, reply)
    return scalars("evaluate.validate", validation=0.0)(question, reply)


def test_of_three_markets_one_can_decide_and_is_named(synthetic: Path, tmp_path: Path) -> None:
    recipe = quick("evaluation.methods=[federated, local]", "training.learning_rate=0.02")
    summary = run_with(WatchedApp("bravo", untrained_is_best), recipe, synthetic, tmp_path / "run")
    assert (summary["best_round"], summary["decided_by"]) == (0, "bravo")
    assert answer(summary, "ndcg@10").startswith("Nothing was won by averaging: ")
    assert any("without the validation figures of bravo" in remark for remark in remarks(summary, "ndcg@10"))


def test_of_four_markets_one_cannot(tmp_path: Path) -> None:
    """The same lie among four: the round is the one that the honest three would have chosen in its absence."""
    from fedrec.data.synth import SynthSettings, write_synthetic_markets

    names = ("alfa", "bravo", "charlie", "delta")
    write_synthetic_markets(tmp_path / "data", SynthSettings(names, users=60, items=80, topics=8, skew=0.9, seed=3))
    recipe = quick("evaluation.methods=[federated]", "training.learning_rate=0.02", "federation.rounds=4")
    honest = run_with(WatchedApp(), recipe, tmp_path / "data", tmp_path / "honest")
    assert honest["best_round"] > 0
    lied = run_with(WatchedApp("bravo", untrained_is_best), recipe, tmp_path / "data", tmp_path / "lied")
    assert lied["best_round"] > 0
    events = read_json_lines(tmp_path / "lied" / "events.jsonl")
    first = next(event for event in events if event["event"] == "round")
    others = sorted(value for name, value in first["validations_before"].items() if name != "bravo")
    assert first["validation_before"] == pytest.approx((others[1] + others[2]) / 2)


def silent_about_the_first(question: Message, reply: Message) -> Message:
    """Says nothing of the first model, and that every later one is useless."""
    first = question.metadata.group_id in ({"1"} if question.metadata.message_type == "train.pretrain" else {"0"})
    if question.metadata.message_type not in {"train.pretrain", "evaluate.validate"}:
        return reply
    if not first:
        return scalars(question.metadata.message_type, validation=0.0)(question, reply)
    known = {name: value for name, value in reply.content.metric_records["scalars"].items() if name != "validation"}
    reply.content["scalars"] = MetricRecord(known)
    return reply


def test_of_four_markets_one_cannot_by_silence_either(tmp_path: Path) -> None:
    """Models are compared by the markets that judged both."""
    from fedrec.data.synth import SynthSettings, write_synthetic_markets

    names = ("alfa", "bravo", "charlie", "delta")
    write_synthetic_markets(tmp_path / "data", SynthSettings(names, users=60, items=80, topics=8, skew=0.9, seed=3))
    recipe = quick("evaluation.methods=[federated]", "training.learning_rate=0.02", "federation.rounds=4")
    lied = run_with(WatchedApp("bravo", silent_about_the_first), recipe, tmp_path / "data", tmp_path / "lied")
    assert lied["best_round"] > 0


def test_a_method_that_nobody_else_has_moves_no_mean(synthetic: Path, tmp_path: Path) -> None:
    """Means are over the markets that have all methods: one that a market adds would leave it alone in them."""
    recipe = quick("evaluation.methods=[federated, local]")
    lie = {"itemknn.ndcg@10": 0.01, "prior.ndcg@10": 0.01, "federated.ndcg@10": 0.99, "local.ndcg@10": 0.5}
    lied = run_with(WatchedApp("bravo", scalars("evaluate.report", **lie)), recipe, synthetic, tmp_path / "lied")
    assert not {"itemknn"} & set(lied["mean"])
    assert not {"itemknn"} & set(lied["markets"]["bravo"]["results"])
    figures = [found["results"]["federated"]["ndcg@10"] for found in lied["markets"].values()]
    assert "Over 3 markets" in answer(lied, "ndcg@10")
    assert lied["mean"]["federated"]["ndcg@10"] == pytest.approx(sum(figures) / 3)


def first_codebook_is_best(question: Message, reply: Message) -> Message:
    """The first codebook explained all, every later one nothing: so says one market, silent about nothing else."""
    kind = question.metadata.message_type
    if kind == "train.codebook":
        return scalars(kind, validation=1.0 if question.metadata.group_id == "1" else 0.0)(question, reply)
    return scalars(kind, validation=0.0)(question, reply) if kind == "evaluate.codebook" else reply


def test_a_codebook_that_was_kept_as_it_came_is_said(synthetic: Path, tmp_path: Path) -> None:
    """Of a run with two stages, what the first one came to is not lost with the second."""
    codes = ["codes.rounds=2", "codes.epochs=1", "codes.refine=0", "collaborative.epochs=1", "algorithm.kind=codes"]
    recipe = quick(
        *codes, "semantics.kind=cooccurrence", "evaluation.methods=[federated]", "training.learning_rate=0.02"
    )
    summary = run_with(WatchedApp("bravo", first_codebook_is_best), recipe, synthetic, tmp_path / "run")
    assert "codebook" in summary["kept_first"]
    assert any("rounds of the codebook won nothing" in remark for remark in remarks(summary, "ndcg@10")) or (
        summary["best_round"] == 0
    )


# verdicts


def test_noise_alone_is_no_learning(synthetic: Path, tmp_path: Path) -> None:
    """Where the server adds noise a round may ask nobody: if that is all that was accepted, nothing was learned."""
    recipe = quick(
        "evaluation.methods=[federated]",
        "semantics.kind=hashing",
        "market_privacy.noise_multiplier=1",
        "market_privacy.delta=0.03",
        "federation.participation=0.02",  # nobody is asked in any round, in four runs of five
        "federation.weights=uniform",
        "federation.norm_bound=1e-9",
    )
    with pytest.raises(RunError, match="no round was accepted|below quorum"):
        run_with(WatchedApp(), recipe, synthetic, tmp_path / "run")


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_run_of_which_no_round_was_accepted_fails(rounds: int, synthetic: Path, tmp_path: Path) -> None:
    """Fewer rounds than it takes to give up: there is nothing to say on learning together."""
    recipe = quick(f"federation.rounds={rounds}", "training.learning_rate=1e6")
    with pytest.raises(RunError, match=r"no round was accepted: nothing was learned together; alfa: norm"):
        run_with(WatchedApp(), recipe, synthetic, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_codebook_rounds_too(synthetic: Path, tmp_path: Path) -> None:
    codes = ["codes.rounds=2", "codes.epochs=1", "collaborative.epochs=1", "ctr.epochs=1", "federation.norm_bound=1e-9"]
    overrides = [*QUICK, *codes, "evaluation.methods=[federated]", "codes.refine=0"]
    recipe = load_recipe("fedmm", overrides)
    with pytest.raises(RunError, match="no round was accepted"):
        run_with(WatchedApp(), recipe, synthetic, tmp_path / "run")
