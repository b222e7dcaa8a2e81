"""Audits of finished runs, and sweeps over epsilon: what they find, that they store no upload, that they go on."""

import csv
import json
from pathlib import Path

import pytest

from fedrec.attacks.observation import UPLOADS
from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.report.audit import strongest
from fedrec.simulation.adapt import prepare_adaptation
from fedrec.simulation.attacks.view import SEQUENCE, TABLE, USER
from fedrec.simulation.audit import audit
from fedrec.simulation.forget import forget
from fedrec.simulation.privacy_sweep import sweep_privacy
from fedrec.simulation.run import prepare_simulation
from tests.conftest import QUICK
from tests.integration.test_codes import FEDMM

MARKETS = {"alfa", "bravo", "charlie"}
SMALL = [*QUICK, "privacy.accountant=rdp", "privacy.batch_size=20", "semantics.kind=cooccurrence"]
LEFT_OUT = ["data.user_share=0.6", "evaluation.methods=[federated]"]


def start(name: str, data: Path, out: Path, *overrides: str) -> Path:
    prepare_simulation(load_recipe(name, overrides), data, out).start()
    return out


def figures(result: dict, attack: str, market: str | None = None, control: str = "") -> list[dict]:
    return [
        found["figures"]
        for found in result["findings"]
        if found["attack"] == attack and found["control"].endswith(control) and market in {None, found["market"]}
    ]


@pytest.fixture(scope="module")
def audited(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    run = start("fecosr", synthetic, tmp_path_factory.mktemp("audit") / "run", *SMALL, *LEFT_OUT)
    before = sorted(path for path in run.rglob("*"))
    result = audit(run)
    assert sorted(path for path in run.rglob("*")) == sorted([*before, run / "audit.json"])  # no upload is stored
    return run, result


def test_a_run_that_left_users_out_is_replayed_to_the_bit(audited: tuple[Path, dict]) -> None:
    run, result = audited
    assert result["replay"] == "identical to the run"
    assert result == json.loads((run / "audit.json").read_text())
    assert result["mechanism"] is None
    assert {found["market"] for found in result["findings"]} == MARKETS
    observers = {found["observer"] for found in result["findings"] if found["attack"] == USER}
    assert observers >= {"server, each upload", "server, sums", "peer market"}


def test_what_cannot_tell_does_not(audited: tuple[Path, dict]) -> None:
    """Labels drawn by chance, and an attack that never sees what left: about a coin, over all markets."""
    _, result = audited
    for name in ("random labels", "never sees"):
        found = [entry["figures"]["auc"] for entry in result["findings"] if entry["control"].startswith(name)]
        assert len(found) == len(MARKETS)
        assert 0.25 < sum(found) / len(found) < 0.75  # some thirty people a market


def test_what_must_be_caught_is_caught(audited: tuple[Path, dict]) -> None:
    """An overfitted model, all pairs as they are, the rows of a plain table, a gradient of one user."""
    _, result = audited
    caught = [found for found in result["findings"] if found["control"].endswith("must be caught")]
    assert {found["by"] for found in caught} == {
        "loss of an overfitted model",
        "all item pairs, not noised",
        "rows of a table that moved",
    }
    assert min(found["figures"]["auc"] for found in caught) > 0.7  # some fifteen people on either side
    (table,) = figures(result, TABLE)
    assert table["auc"] == 1.0 > table["auc by popularity"]
    assert 0 < table["rows changed"] < table["rows"]  # what the ledger says of it
    assert min(found["recall@10"] - found["by popularity"] for found in figures(result, SEQUENCE)) > 0.2


def test_a_private_run_is_replayed_with_its_secrets_and_hides_sequences(synthetic: Path, tmp_path: Path) -> None:
    run = start("fecosr", synthetic, tmp_path / "run", *SMALL, *LEFT_OUT, "privacy.epsilon=2")
    secrets = {market: (run / "markets" / market / "secret").read_bytes() for market in MARKETS}
    result = audit(run)
    assert result["replay"] == "identical to the run"
    assert result["mechanism"]["epsilon_at_least"] <= result["mechanism"]["epsilon_stated"] <= 2
    assert {market: (run / "markets" / market / "secret").read_bytes() for market in MARKETS} == secrets
    recalls = figures(result, SEQUENCE)
    assert sum(found["recall@10"] - found["by popularity"] for found in recalls) / len(recalls) < 0.15


@pytest.mark.slow
def test_a_run_whose_server_adds_noise_is_replayed_too(synthetic: Path, tmp_path: Path) -> None:
    options = [*SMALL, *LEFT_OUT, "semantics.kind=hashing", "federation.weights=uniform", "market_privacy.epsilon=9"]
    run = start("fecosr", synthetic, tmp_path / "run", *options, "market_privacy.delta=0.03")
    assert audit(run)["replay"] == "identical to the run"


def test_codes_are_attacked_too(synthetic: Path, tmp_path: Path) -> None:
    run = start("fedmm", synthetic, tmp_path / "run", *FEDMM, "codes.alignment=gram", "evaluation.methods=[federated]")
    result = audit(run, left_out=0.4)
    assert result["replay"].startswith("a run of its own")
    assert {"items behind codes", USER, "best sellers"} <= {found["attack"] for found in result["findings"]}


RANKER = ["algorithm.hidden=8", "federation.rounds=3", "ease.lambdas=[10]", "evaluation.resamples=20"]


@pytest.fixture(scope="module")
def ranked(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A ranker with another model's scores, so both parts of a run are attacked."""
    scores = ["scores.kind=fecosr", "scores.rounds=2", "encoder.kind=transformer", "semantics.kind=hashing"]
    out = tmp_path_factory.mktemp("ranked") / "run"
    return audit(start("ranker", synthetic, out, *RANKER, *LEFT_OUT, *scores))


def test_a_ranker_and_the_model_that_gives_it_scores_are_attacked(ranked: dict) -> None:
    assert ranked["replay"] == "identical to the run"
    assert {found["market"] for found in ranked["findings"]} == MARKETS
    by = {(found["observer"], found["by"]) for found in ranked["findings"] if found["attack"] == USER}
    observers = ("server, each upload", "server, sums", "peer market")
    assert {(observer, "statistics") for observer in observers} <= by
    assert ("server, each upload", "loss before and after (scores)") in by


def test_statistics_tell_whom_they_are_made_of_the_less_the_more_is_held_back(
    ranked: dict, synthetic: Path, tmp_path: Path
) -> None:
    """All counts tell members for sure; held back they tell less, and one known item gives away less."""
    options = [*RANKER, *LEFT_OUT, "scores.kind=none"]
    exact = audit(start("ranker", synthetic, tmp_path / "run", *options, "algorithm.min_count=1"))

    def mean(result: dict, by: str, figure: str, observer: str = UPLOADS) -> float:
        found = [one for one in result["findings"] if one["by"] == by and one["observer"] == observer]
        values = [one["figures"][figure] for one in found if figure in one["figures"]]
        assert len(values) == len(MARKETS)
        return sum(values) / len(values)

    assert mean(exact, "statistics", "auc") > 0.95
    assert mean(ranked, "statistics", "auc") < mean(exact, "statistics", "auc") - 0.05
    assert mean(ranked, "all statistics, not held back", "auc") > 0.95
    for figure in ("another item", "items", "month"):
        assert mean(ranked, "statistics", figure) < mean(exact, "statistics", figure)
    for observer in (UPLOADS, "server, sums", "peer market"):
        assert 0 <= mean(exact, "loss of a ranker before and after", "auc", observer) <= 1
    assert mean(exact, "statistics", "auc", "server, sums") > mean(exact, "statistics", "auc", "peer market")


def test_counts_that_peers_are_sent_are_attacked(synthetic: Path, tmp_path: Path) -> None:
    """Federated EASE with the counts of all: every market can look for a user's pairs."""
    overrides = [*SMALL, "evaluation.methods=[fedease]", "fedease.restrict=after", "data.user_share=0.6"]
    result = audit(start("fecosr", synthetic, tmp_path / "run", *overrides))
    assert result["replay"].startswith("the same users, with nothing to compare")
    by = {(found["observer"], found["by"]) for found in result["findings"] if found["attack"] == USER}
    assert ("peer market", "item pairs of all that a peer was sent") in by


def test_masked_runs_say_what_the_masks_hide(synthetic: Path, tmp_path: Path) -> None:
    result = audit(start("fecosr", synthetic, tmp_path / "run", *SMALL, *LEFT_OUT, "masks.enabled=true"))
    assert result["masked"]
    seen = [f["figures"]["auc"] for f in result["findings"] if f["attack"] == USER and f["observer"] != UPLOADS]
    assert max(strongest(result).values()) <= max(seen)


@pytest.mark.parametrize("alignment", ["semantic", "procrustes", "none", "layered"])
def test_every_alignment_can_be_audited(alignment: str, synthetic: Path, tmp_path: Path) -> None:
    options = [*FEDMM, f"codes.alignment={alignment}", "evaluation.methods=[federated]", "data.user_share=0.5"]
    result = audit(start("fedmm", synthetic, tmp_path / "run", *options))
    assert result["replay"] == "identical to the run"
    codes = figures(result, "items behind codes")
    assert len(codes) == (0 if alignment == "none" else len(MARKETS))


def test_runs_that_cannot_be_replayed_are_refused(synthetic: Path, tmp_path: Path) -> None:
    faulty = start("fecosr", synthetic, tmp_path / "faulty", *SMALL, *LEFT_OUT, "federation.faults.dropout=0.2")
    with pytest.raises(UserError, match="faults cannot be replayed"):
        audit(faulty)
    prepare_adaptation(faulty, synthetic, tmp_path / "adapted", []).start()
    with pytest.raises(UserError, match="audit the run that trained it"):
        audit(tmp_path / "adapted")
    with pytest.raises(UserError, match="forget the user there"):
        forget(tmp_path / "adapted", "alfa", "x", tmp_path / "data", tmp_path / "out")


def test_runs_that_send_nothing_are_refused(synthetic: Path, tmp_path: Path) -> None:
    run = start("baselines", synthetic, tmp_path / "run", "evaluation.methods=[popularity]")
    with pytest.raises(UserError, match="none of its methods sends anything"):
        audit(run)
    with pytest.raises(UserError, match="--left-out 1.5"):
        audit(run, left_out=1.5)


@pytest.mark.slow  # sweeps that go on are in the default of test_tuning, attacks in the tests above
def test_a_sweep_goes_on_where_it_stopped(synthetic: Path, tmp_path: Path) -> None:
    """Killed after its first run: the second start does not do that one again, and refuses another recipe."""
    out = tmp_path / "sweep"
    overrides = [*SMALL, "evaluation.methods=[federated, local, popularity]", "federation.rounds=2"]

    class KilledError(Exception):
        pass

    def once(text: str) -> None:
        if text.startswith("run 3"):
            raise KilledError

    with pytest.raises(KilledError):
        sweep_privacy("fecosr", [float("inf"), 4.0], 1, overrides, synthetic, out, 0.4, once)
    first = (out / "runs" / "epsilon-inf-seed-0" / "events.jsonl").read_bytes()
    told: list[str] = []
    page = sweep_privacy("fecosr", [float("inf"), 4.0], 1, overrides, synthetic, out, 0.4, lambda _: None, told.append)
    assert any("privacy.reports is set to outside" in text for text in told)
    assert (out / "runs" / "epsilon-inf-seed-0" / "events.jsonl").read_bytes() == first
    rows = list(csv.DictReader((out / "tradeoff.csv").read_text().splitlines()))
    assert [(row["epsilon"], row["market"]) for row in rows] == [
        (e, m) for e in ("inf", "4.0") for m in sorted(MARKETS)
    ]
    assert all(row["federated"] and row["user_membership_auc"] for row in rows)
    for market in MARKETS:  # no noise touches them: measured once
        assert len({(row["local"], row["popularity"]) for row in rows if row["market"] == market}) == 1
    text = page.read_text()
    more = sweep_privacy("fecosr", [8.0, 4.0], 1, overrides, synthetic, out, 0.4, lambda _: None)
    assert "epsilon 8" in more.read_text()  # points can be added to it
    assert "Bought: the strongest attack" in text
    assert "Cost in charlie, the smallest market" in text
    assert text.count("<svg") == 2
    with pytest.raises(UserError, match="was begun with another recipe"):
        sweep_privacy("fecosr", [4.0], 1, [*overrides, "loss.lam=0"], synthetic, out, 0.4, lambda _: None)


@pytest.mark.parametrize(
    ("epsilons", "overrides", "complaint"),
    [
        ([4.0, 4.0], [], "each once"),
        ([0.0], [], "positive numbers"),
        ([1.0], ["privacy.epsilon=3"], "are what the sweep sets"),
        ([1.0], ["privacy.reports=withheld"], "leave it out"),
        ([1.0], ["evaluation.methods=[local]"], "none of them sends"),
    ],
)
def test_what_a_sweep_refuses(
    epsilons: list[float], overrides: list[str], complaint: str, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        sweep_privacy("fecosr", epsilons, 1, overrides, synthetic, tmp_path / "sweep", 0.2, lambda _: None)
    assert not (tmp_path / "sweep").exists()
