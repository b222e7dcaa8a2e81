"""`docker compose up` from a clean clone, to the end of the run: with docker, and nothing else."""

import json
import shutil
import time
from pathlib import Path

import pytest

from fedrec.runs.summary import comparable
from tests.containers.engine import IMAGE, Project, Watch, project, run
from tests.deployment.near import assert_near

pytestmark = pytest.mark.containers
MARKETS = ["alfa", "bravo", "charlie"]


def test_the_demonstration(tree: Path, environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "clone")
    with project(Project("fedrec-demo", tmp_path / "clone", environment)) as made:
        began, first, lines = time.monotonic(), None, []
        with Watch(made.name) as watch, made.popen("up", "--no-build", "--exit-code-from", "run") as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if first is None and "round 1/" in line:
                    first = time.monotonic() - began
        said = "".join(lines)
        assert process.wait() == 0, said
        assert "local" in said
        assert "NDCG@10 per market" in said
        print(f"first round after {first:.0f} s, all in {time.monotonic() - began:.0f} s; MB at most: {watch.most}")
        report = tmp_path / "clone" / "deploy" / "report"
        summary = json.loads((report / "summary.json").read_text())
        assert "<html" in (report / "report.html").read_text()
        assert (report / "report.html").stat().st_uid == report.stat().st_uid
        (tmp_path / "data").mkdir()
        for market in MARKETS:
            copied = made.compose("cp", f"files:/made/markets/{market}/data", str(tmp_path / "data" / market))
            assert copied.returncode == 0, copied.stderr
        # In the same image: another build of Python moves the thirteenth digit, and with it, after 24 rounds, a rank.
        alone = run(
            *("docker", "run", "--rm", "--network=none", "-u", "0", "-v", f"{tmp_path}:/here", IMAGE),
            *("fedrec", "run", "fecosr", "--data", "/here/data", "--out", "/here/run", "--quiet"),
        )
        assert alone.returncode == 0, alone.stderr
        inline = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert_near(comparable(summary) | {"dataset": ""}, comparable(inline) | {"dataset": ""})
    left = run("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=fedrec-demo").stdout
    left += run("docker", "volume", "ls", "-q", "--filter", "name=fedrec-demo").stdout
    left += run("docker", "network", "ls", "-q", "--filter", "name=fedrec-demo").stdout
    assert left == "", "`down -v` leaves nothing"
