"""Runs that are killed and taken up again: the end is that of a run nobody disturbed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedrec.errors import UserError
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.conftest import QUICK
from tests.integration.crash import INLINE_ONLY, ON_RAY_ONLY, POINTS
from tests.integration.harness import quick

# Everything a resumed round depends on: summed counts, a server optimiser with moments, remainders of compression,
# sampling, simulated faults with answers that come late.
SETTINGS = (
    "semantics.kind=cooccurrence",
    "federation.rounds=4",
    "aggregator.kind=fedadam",
    "federation.participation=0.7",
    "federation.faults.late=0.2",
    "federation.quorum=0.3",
    "update.compression=int8",
    "evaluation.methods=[federated, local, popularity, fedease]",
)
MODELS = ("shared/model.safetensors", "markets/alfa/federated.safetensors", "markets/bravo/local.safetensors")
IN_DEFAULT = {"checkpoint torn"}


@pytest.fixture(scope="module")
def undisturbed(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    prepare_simulation(quick(*SETTINGS), synthetic, out).start()
    return out


def killed_at(point: str, synthetic: Path, out: Path, *engine: str) -> None:
    command = [sys.executable, "-m", "tests.integration.crash", "fecosr", point, str(synthetic), str(out)]
    result = subprocess.run([*command, *QUICK, *SETTINGS, *engine], capture_output=True, check=False, timeout=300)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-2000:]
    assert not (out / "summary.json").exists()


def assert_same(out: Path, undisturbed: Path) -> None:
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (out, undisturbed)]
    assert comparable(summaries[0]) == comparable(summaries[1])
    for name in MODELS:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.parametrize(
    "point",
    [
        point if point in IN_DEFAULT else pytest.param(point, marks=pytest.mark.slow)
        for point in POINTS
        if point not in ON_RAY_ONLY
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(
    point: str, synthetic: Path, tmp_path: Path, undisturbed: Path
) -> None:
    """SIGKILL at one point, then `fedrec run --resume`: same figures, same bytes of every model."""
    out = tmp_path / "run"
    killed_at(point, synthetic, out)
    command = [sys.executable, "-m", "fedrec.cli.main", "run", "--resume", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert_same(out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if point not in INLINE_ONLY])
def test_so_does_one_on_ray(point: str, synthetic: Path, tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "run"
    killed_at(point, synthetic, out, "engine.kind=ray")
    resume_simulation(out).start()
    assert_same(out, undisturbed)


def test_what_has_changed_is_named(synthetic: Path, tmp_path: Path) -> None:
    """Recipe, data, versions: each is refused by name, and nothing is written."""
    out = tmp_path / "run"
    prepare_simulation(quick(*SETTINGS), synthetic, out)
    recipe, manifest = (out / "recipe.yaml").read_text(), (out / "manifest.json").read_text()
    (out / "recipe.yaml").write_text(recipe.replace("lam: 0.3", "lam: 0.4"))
    with pytest.raises(UserError, match=r"loss\.lam is 0\.4, it was 0\.3"):
        resume_simulation(out)
    (out / "recipe.yaml").write_text(recipe)
    values = json.loads(manifest)
    values["data"]["hashes"]["bravo"] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="the data of market 'bravo'"):
        resume_simulation(out)
    values = json.loads(manifest)
    values["versions"]["torch"] = "1.0"
    (out / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"torch is .*, it was 1\.0"):
        resume_simulation(out)
    (out / "manifest.json").write_text(manifest)
    assert resume_simulation(out).start()["rounds"]
    with pytest.raises(UserError, match="finished already"):
        resume_simulation(out)


def test_a_run_is_led_once_at_a_time(synthetic: Path, tmp_path: Path) -> None:
    simulation = prepare_simulation(quick(), synthetic, tmp_path / "run")
    with simulation.run.locked(), pytest.raises(UserError, match="another process is running it"):
        resume_simulation(tmp_path / "run").start()
