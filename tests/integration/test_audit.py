"""Audits of finished runs, and sweeps over epsilon: what they find, that they store no upload, that they go on."""

import csv
import json
from pathlib import Path

import pytest

from fedrec.errors import UserError
from fedrec.recipe import load_recipe
from fedrec.simulation.audit import SEQUENCE, TABLE, USER, audit
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


def test_what_must_be_caught_is_caught(audited: tuple[Path, dict]) -> None:
    """An overfitted model, all pairs as they are, the rows of a plain table, a gradient of one user."""
    _, result = audited
    caught = [found for found in result["findings"] if found["control"].endswith("must be caught")]
    assert {found["by"] for found in caught} == {
        "loss of an overfitted model",
        "all item pairs, not noised",
        "rows of a table that moved",
    }
    assert min(found["figures"]["auc"] for found in caught) > 0.75
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


def test_codes_are_attacked_too(synthetic: Path, tmp_path: Path) -> None:
    run = start("fedmm", synthetic, tmp_path / "run", *FEDMM, "codes.alignment=gram", "evaluation.methods=[federated]")
    result = audit(run, left_out=0.4)
    assert result["replay"].startswith("a run of its own")
    assert {"items behind codes", USER, "best sellers"} <= {found["attack"] for found in result["findings"]}


def test_runs_that_send_nothing_are_refused(synthetic: Path, tmp_path: Path) -> None:
    run = start("floors", synthetic, tmp_path / "run", "evaluation.methods=[popularity]")
    with pytest.raises(UserError, match="none of its methods sends anything"):
        audit(run)
    with pytest.raises(UserError, match="--left-out 1.5"):
        audit(run, left_out=1.5)


def test_a_sweep_goes_on_where_it_stopped(synthetic: Path, tmp_path: Path) -> None:
    """Killed after its first run: the second start does not do that one again, and refuses another recipe."""
    out = tmp_path / "sweep"
    overrides = [*SMALL, "evaluation.methods=[federated, local, popularity]", "federation.rounds=2"]

    class KilledError(Exception):
        pass

    def once(text: str) -> None:
        if text.startswith("run 2"):
            raise KilledError

    with pytest.raises(KilledError):
        sweep_privacy("fecosr", [float("inf"), 4.0], 1, overrides, synthetic, out, 0.4, once)
    first = (out / "runs" / "epsilon-inf-seed-0" / "events.jsonl").read_bytes()
    page = sweep_privacy("fecosr", [float("inf"), 4.0], 1, overrides, synthetic, out, 0.4, lambda _: None)
    assert (out / "runs" / "epsilon-inf-seed-0" / "events.jsonl").read_bytes() == first
    rows = list(csv.DictReader((out / "tradeoff.csv").read_text().splitlines()))
    assert [(row["epsilon"], row["market"]) for row in rows] == [
        (e, m) for e in ("inf", "4.0") for m in sorted(MARKETS)
    ]
    assert all(row["federated"] and row["user_membership_auc"] for row in rows)
    assert {row["epsilon"] for row in rows if row["local"]} == {"inf"}  # no noise touches it: measured once
    text = page.read_text()
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
        ([1.0], ["privacy.reports=withheld"], "reports withheld"),
        ([1.0], ["evaluation.methods=[local]"], "none of them sends"),
    ],
)
def test_what_a_sweep_refuses(
    epsilons: list[float], overrides: list[str], complaint: str, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        sweep_privacy("fecosr", epsilons, 1, overrides, synthetic, tmp_path / "sweep", 0.2, lambda _: None)
    assert not (tmp_path / "sweep").exists()
