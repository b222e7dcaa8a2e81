"""Private and masked runs that are killed and taken up again: the same bytes, and nothing is charged twice."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedrec.recipe import load_recipe
from fedrec.runs.summary import comparable
from fedrec.simulation.run import prepare_simulation, resume_simulation
from tests.conftest import QUICK

MARKETS = ("alfa", "bravo", "charlie")
BASE = [*QUICK, "evaluation.methods=[federated]", "evaluation.resamples=20"]
USERS = [*BASE, "semantics.kind=cooccurrence", "privacy.epsilon=8", "privacy.accountant=rdp", "privacy.batch_size=20"]
WHOLE = [
    *BASE,
    "semantics.kind=hashing",
    "federation.weights=uniform",
    "market_privacy.noise_multiplier=0.1",
    "market_privacy.delta=0.03",
    "market_privacy.accountant=rdp",
]
KINDS = {"users": USERS, "users, masked": [*USERS, "masks.enabled=true"], "markets": WHOLE}
POINTS = ("round answered", "checkpoint done")  # the answers are there and not kept; kept, and the next not begun


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        pytest.param(kind, point, marks=[] if (kind, point) == ("users, masked", POINTS[0]) else pytest.mark.slow)
        for kind in KINDS
        for point in POINTS
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(kind: str, point: str, synthetic: Path, tmp_path: Path) -> None:
    out, overrides = tmp_path / "one" / "run", KINDS[kind]
    command = [sys.executable, "-m", "tests.integration.crash", "fecosr", point, str(synthetic), str(out), *overrides]
    result = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-2000:]
    undisturbed = prepare_simulation(load_recipe("fecosr", overrides), synthetic, tmp_path / "two" / "run")
    for name in ("secret", *(f"markets/{market}/secret" for market in MARKETS)):
        if (out / name).is_file():
            (tmp_path / "two" / "run" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(out / name, tmp_path / "two" / "run" / name)
    resume_simulation(out).start()
    undisturbed.start()
    summaries = [json.loads((tmp_path / name / "run" / "summary.json").read_text()) for name in ("one", "two")]
    for summary in summaries:
        summary.pop("bytes")  # what was asked twice is counted twice
        for record in summary["rounds"]:
            record.pop("bytes_up")
            record.pop("bytes_down")
    assert comparable(summaries[0]) == comparable(summaries[1])
    models = [(tmp_path / name / "run" / "shared" / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert models[0] == models[1]
    if kind != "markets":
        for market in MARKETS:
            accounts = [
                json.loads((tmp_path / name / "run" / "markets" / market / "privacy.json").read_text())
                for name in ("one", "two")
            ]
            assert accounts[0] == accounts[1]
