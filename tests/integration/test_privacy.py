"""Private runs end to end: what leaves, what it costs, that it repeats, and what is refused."""

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from fedrec.cli.main import app, exit_code
from fedrec.data.catalogue import Vocabulary
from fedrec.data.store import open_store
from fedrec.errors import UserError
from fedrec.files import read_json_lines
from fedrec.privacy.accounting import epsilon
from fedrec.privacy.release import Release
from fedrec.recipe import Recipe, load_recipe
from fedrec.report.tables import privacy_lines
from fedrec.runs.shared import read_shared_model
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation
from fedrec.training.evaluation import mean_ndcg
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer
from tests.conftest import QUICK
from tests.integration.test_codes import fedmm

MARKETS = ("alfa", "bravo", "charlie")
PRIVATE = ["privacy.epsilon=8", "privacy.accountant=rdp", "privacy.batch_size=20"]
OUTSIDE = "privacy.reports=outside"


def private(*overrides: str) -> Recipe:
    return load_recipe("fecosr", [*QUICK, *PRIVATE, "evaluation.methods=[federated, local, fedease]", *overrides])


def start(recipe: Recipe, data: Path, out: Path, secrets: Path | None = None) -> dict:
    """Run it, with the secrets of another run where there is one."""
    prepared = prepare_simulation(recipe, data, out)
    for market in MARKETS if secrets else ():
        target = out / "markets" / market / "secret"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((secrets / "markets" / market / "secret").read_bytes())
    return prepared.start()


@pytest.fixture(scope="module")
def finished(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("private") / "run"
    start(private("semantics.kind=cooccurrence", OUTSIDE), synthetic, out)
    return out


def test_every_array_that_leaves_was_noised(finished: Path) -> None:
    entries = read_json_lines(finished / "ledger.jsonl")
    arrays = [entry for entry in entries if entry["kind"] == "array"]
    assert {entry["action"] for entry in arrays} == {"query.catalogue", "query.gram", "train.pretrain"}
    assert all(entry["provenance"].startswith("noised: multiplier") for entry in arrays)
    assert all("provenance" in entry for entry in entries)
    public = {entry["name"] for entry in entries if entry["provenance"] == "public"}
    assert public == {"users", "items", "has_text", "has_families", "min_users", "market", "device", "weight"}
    in_rounds = {entry["name"] for entry in entries if entry["action"] == "train.pretrain" and entry["kind"] != "array"}
    assert in_rounds == {"weight"}  # no validation, no loss, no duration


def test_what_was_charged_is_what_was_planned(finished: Path) -> None:
    """The pairs once, though semantics and EASE both have them; one update a round. Epsilon is that of all of it."""
    summary = json.loads((finished / "summary.json").read_text())
    for market in MARKETS:
        account = json.loads((finished / "markets" / market / "privacy.json").read_text())
        charges = [Release(**values) for values in account["charges"].values()]
        assert [charge.what for charge in charges] == ["item pairs", *["update"] * 3]
        assert account["epsilon"] == pytest.approx(epsilon(charges, 1e-5, "rdp"), rel=1e-9)
        plan = summary["markets"][market]["privacy"]
        assert account["epsilon"] == pytest.approx(plan["epsilon"], rel=1e-9)
        assert 7.9 < plan["epsilon"] <= 8
        assert plan["unit"].startswith("user")
    assert summary["privacy"]["epsilon"] == max(summary["markets"][m]["privacy"]["epsilon"] for m in MARKETS)
    assert summary["privacy"]["unit"] == "user within a market"
    assert summary["privacy"]["relation"] == "add or remove one user"
    assert summary["privacy"]["mechanisms"] == ["item pairs", "update, every round"]
    assert summary["mean"]["federated"]["ndcg@10"] > 0


def test_secrets_are_the_markets_own(finished: Path) -> None:
    secrets = {}
    for market in MARKETS:
        path = finished / "markets" / market / "secret"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secrets[market] = path.read_bytes()
    assert len(set(secrets.values())) == 3
    assert {len(secret) for secret in secrets.values()} == {32}


@pytest.mark.parametrize(
    "engine",
    [
        "engine.workers=1",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("engine.workers=2", "engine.kind=ray")),
    ],
)
def test_the_same_secrets_give_the_same_run_and_others_another(
    engine: str, finished: Path, synthetic: Path, tmp_path: Path
) -> None:
    first = json.loads((finished / "summary.json").read_text())
    recipe = private("semantics.kind=cooccurrence", OUTSIDE, engine)
    again = start(recipe, synthetic, tmp_path / "again" / "run", finished)
    assert comparable(again) == comparable(first)
    model = Path("shared") / "model.safetensors"
    assert (tmp_path / "again" / "run" / model).read_bytes() == (finished / model).read_bytes()
    other = start(recipe, synthetic, tmp_path / "other" / "run")
    assert (tmp_path / "other" / "run" / model).read_bytes() != (finished / model).read_bytes()
    assert comparable(other)["mean"]["local"] == comparable(first)["mean"]["local"]  # has nothing to do with it


def test_figures_outside_epsilon_are_rounded_and_the_run_says_so(finished: Path) -> None:
    entries = read_json_lines(finished / "ledger.jsonl")
    outside = [entry["value"] for entry in entries if entry["provenance"] == "outside epsilon" and "value" in entry]
    assert all(value == round(value, 3) for value in outside)
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["privacy"]["reports"] == "outside"
    assert "told once and rounded" in privacy_lines(summary)[0]


def test_noised_figures_are_of_the_shared_model_and_paid(synthetic: Path, tmp_path: Path) -> None:
    """Within ten deviations of what they are without noise; nothing else of the users leaves."""
    methods = "evaluation.methods=[federated, local]"
    recipe = private("semantics.kind=hashing", methods, "privacy.reports=noised", "privacy.epsilon=200")
    summary = start(recipe, synthetic, tmp_path / "run")
    entries = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    assert {entry["provenance"].split(":")[0] for entry in entries} == {"public", "noised"}
    assert summary["privacy"]["reports"] == "noised"
    assert set(summary["mean"]) == {"shared"}
    assert "under noise" in privacy_lines(summary)[0]
    shared = read_shared_model(tmp_path / "run" / "shared").parameters
    for market in MARKETS:
        account = json.loads((tmp_path / "run" / "markets" / market / "privacy.json").read_text())
        assert [charge["what"] for charge in account["charges"].values()] == ["update"] * 3 + ["figures"]
        release = Release(**next(charge for charge in account["charges"].values() if charge["what"] == "figures"))
        store = open_store(synthetic / market)
        listed = store.catalogue["item_id"].sort().to_list()  # all of them are ranked, whoever bought them
        trainer = SequentialTrainer.alone(recipe, PreparedMarket(store, recipe, Vocabulary(listed, listed), None))
        trainer.model.load_state_dict({name: torch.from_numpy(value) for name, value in shared.items()}, strict=False)
        exact = mean_ndcg(trainer.scorer(trainer.market.test), trainer.market.test)
        found = summary["markets"][market]["results"]["shared"]["ndcg@10"]
        assert found != exact
        assert abs(found - exact) < 20 * release.noise_multiplier / len(trainer.market.test)


def test_figures_stay_by_default(synthetic: Path, tmp_path: Path) -> None:
    """Nothing leaves but public figures and what was noised; every market still has its report."""
    summary = start(private("semantics.kind=hashing"), synthetic, tmp_path / "run")
    assert summary["privacy"]["reports"] == "withheld"
    entries = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    assert {entry["provenance"].split(":")[0] for entry in entries} == {"public", "noised"}
    assert summary["mean"] == {}
    assert all(figures["interactions"] is None for figures in summary["markets"].values())
    for market in MARKETS:
        report = json.loads((tmp_path / "run" / "markets" / market / "report.json").read_text())
        assert 0 < report["federated.ndcg@10"] < 1


def test_the_adaptor_trains_only_where_it_is_said(synthetic: Path, tmp_path: Path) -> None:
    kinds = ["semantics.kind=hashing", "evaluation.methods=[federated]", "federation.rounds=1"]
    untrained = load_file_of(tmp_path / "a", private(*kinds, "privacy.noise_multiplier=1e4"), synthetic)
    for trains in ("encoder", "everything"):
        recipe = private(*kinds, f"privacy.trains={trains}")
        found = load_file_of(tmp_path / trains, recipe, synthetic)
        same = {name for name in found if (found[name] == untrained[name]).all()}
        adaptors = {name for name in found if name.startswith("adaptor.")}
        assert same == (adaptors if trains == "encoder" else set())


def load_file_of(out: Path, recipe: Recipe, data: Path) -> dict:
    start(recipe, data, out / "run")
    return load_file(out / "run" / "shared" / "model.safetensors")


@pytest.mark.parametrize("overrides", [["codes.alignment=gram"], ["codes.alignment=layered"]])
def test_codes_are_made_of_one_release_or_of_none(overrides: list[str], synthetic: Path, tmp_path: Path) -> None:
    """Under `gram` the pairs alone are charged, with all of epsilon; texts are public, so `layered` costs nothing."""
    start(fedmm(*overrides, "privacy.epsilon=4", "evaluation.methods=[federated]"), synthetic, tmp_path / "run")
    entries = read_json_lines(tmp_path / "run" / "ledger.jsonl")
    rounds = {e["provenance"] for e in entries if e["action"] == "train.codebook" and e["kind"] == "array"}
    assert rounds == {"made of noised releases"}
    for market in MARKETS:
        path = tmp_path / "run" / "markets" / market / "privacy.json"
        if overrides == ["codes.alignment=layered"]:
            assert not path.exists()
        else:
            account = json.loads(path.read_text())
            assert [Release(**values).what for values in account["charges"].values()] == ["item pairs"]
            assert 3.9 < account["epsilon"] <= 4


MARKET_LEVEL = [
    *QUICK,
    "semantics.kind=hashing",
    "evaluation.methods=[federated]",
    "federation.weights=uniform",
    "federation.participation=0.6",
    "federation.rounds=6",
    "market_privacy.accountant=rdp",
    "market_privacy.delta=0.03",
]


def test_whole_markets_are_private_towards_whoever_sees_the_model(synthetic: Path, tmp_path: Path) -> None:
    """The server adds the noise: epsilon is the library's for the rounds done, and all rounds are done."""
    recipe = load_recipe("fecosr", [*MARKET_LEVEL, "market_privacy.epsilon=20"])
    summary = start(recipe, synthetic, tmp_path / "run")
    found = summary["privacy"]
    assert (found["unit"], found["relation"]) == ("market", "add or remove one market")
    assert found["sampling"] == "Poisson"
    assert len(summary["rounds"]) == 6
    plan = summary["markets"]["alfa"]["privacy"]
    release = Release(**plan["releases"]["aggregate, every round"])
    assert epsilon([release] * 6, 0.03, "rdp") == pytest.approx(found["epsilon"])
    assert found["epsilon"] <= 20
    assert len({tuple(record["accepted"]) for record in summary["rounds"]}) > 1  # each round on coins of its own
    assert stat.S_IMODE((tmp_path / "run" / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("federation.weights=interactions", "may not weigh more"),
        ("aggregator.kind=median", "is none"),
        ("semantics.kind=cooccurrence", "item pairs, codes or keys leave too"),
        ("evaluation.methods=[federated, fedease]", "item pairs, codes or keys leave too"),
        ("masks.enabled=true", "clips every change itself"),
        ("update.compression=int8", "clips every change itself"),
        ("privacy.epsilon=3", "turn one off"),
    ],
)
def test_what_privacy_of_markets_does_not_go_with(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe("fecosr", [*MARKET_LEVEL, "market_privacy.epsilon=20", override])


def test_delta_is_at_most_a_tenth_of_one_in_the_markets(synthetic: Path, tmp_path: Path) -> None:
    recipe = load_recipe("fecosr", [*MARKET_LEVEL, "market_privacy.epsilon=20", "market_privacy.delta=0.5"])
    with pytest.raises(
        UserError, match="market_privacy.delta 0.5 is more than a tenth of one in 3 markets; set it to 0.033"
    ):
        start(recipe, synthetic, tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.proximal=0.1", "training.proximal"),
        ("privacy.delta=0.5", "privacy.delta 0.5 is more than a tenth of one in"),
        ("fedease.restrict=after", "fedease.restrict 'after'"),
    ],
)
def test_the_command_says_in_two_lines_what_privacy_does_not_go_with(
    override: str, complaint: str, synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [*QUICK, *PRIVATE, "semantics.kind=cooccurrence", "evaluation.methods=[federated, fedease]", override]
    options = [part for change in changes for part in ("--set", change)]
    arguments = ["run", "fecosr", "--data", str(synthetic), "--out", str(tmp_path / "run"), *options]
    assert exit_code(lambda: app(arguments, standalone_mode=False)) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.strip().splitlines()) <= 2
