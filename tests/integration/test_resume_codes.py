"""Runs of codes that are killed and taken up again; everything a round of the codebook depends on is in play."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.integration.crash import CODES_POINTS
from tests.integration.test_codes import FEDMM, fedmm

# Moving averages at the server, private encoders and remainders of compression at the markets.
SETTINGS = ("codes.alignment=semantic", "codes.decay=0.5", "update.compression=int8", "codes.rounds=5")
FILES = ("shared/codebook/model.safetensors", "markets/alfa/codes-federated.safetensors")
IN_DEFAULT = {"market trains a codebook"}


@pytest.fixture(scope="module")
def undisturbed(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed-codes") / "run"
    prepare_simulation(fedmm(*SETTINGS), synthetic, out).start()
    return out


@pytest.mark.parametrize(
    "point",
    [point if point in IN_DEFAULT else pytest.param(point, marks=pytest.mark.slow) for point in CODES_POINTS],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(
    point: str, synthetic: Path, tmp_path: Path, undisturbed: Path
) -> None:
    out = tmp_path / "run"
    overrides = [*FEDMM, *SETTINGS]
    command = [sys.executable, "-m", "tests.integration.crash", "fedmm", point, str(synthetic), str(out), *overrides]
    result = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-2000:]
    resume_simulation(out).start()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (out, undisturbed)]
    assert comparable(summaries[0]) == comparable(summaries[1])
    for name in FILES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
