"""The image: how large, what it can do, what it tells."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.containers.engine import IMAGE, ROOT, run

pytestmark = pytest.mark.containers


def in_image(environment: dict[str, str], *words: str, user: str = "10001") -> str:
    result = run("docker", "run", "--rm", "--network=none", "-u", user, IMAGE, *words, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_size_labels_and_user(environment: dict[str, str]) -> None:
    (found,) = json.loads(run("docker", "image", "inspect", IMAGE).stdout)
    assert found["Size"] < 1.3e9
    assert found["Config"]["User"] == "10001:10001"
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "test"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_our_own_code_is_a_small_layer_of_its_own(environment: dict[str, str]) -> None:
    """A change of code is rebuilt and sent without torch."""
    rows = [
        json.loads(line)
        for line in run("docker", "history", "--format", "json", "--human=false", IMAGE).stdout.splitlines()
    ]
    copies = [int(row["Size"]) for row in rows if "COPY dir" in row["CreatedBy"] or "COPY /opt" in row["CreatedBy"]]
    assert copies[0] < 7e6, "newest first: the code, with its bytecode"
    text = json.dumps(rows)
    assert not [word for word in ("PRIVATE KEY", "password", "token", "http://", "https://") if word in text]


def test_nothing_installs_and_nothing_is_more_than_its_caller(environment: dict[str, str]) -> None:
    code = (
        "import importlib.util, shutil, json\n"
        "print(json.dumps([importlib.util.find_spec(name) is None for name in ('pip', 'ensurepip', 'uv')]"
        " + [shutil.which(name) is None for name in ('pip', 'pip3', 'uv', 'gcc', 'strip')]))\n"
    )
    assert json.loads(in_image(environment, "python", "-c", code)) == [True] * 8
    special = in_image(environment, "find", "/", "-xdev", "-type", "f", "-perm", "/6000", user="0")
    assert special == ""


def test_the_bill_of_materials_names_every_package(environment: dict[str, str], tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    made = run("sh", "deploy/sbom.sh", IMAGE, tmp_path / "sbom.json", cwd=ROOT, env=environment | {"PATH": path})
    assert made.returncode == 0, made.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {(re.sub(r"[-_.]+", "-", one["name"]).lower(), one["version"]) for one in bill["components"]}
    locked = set(re.findall(r"^([a-z0-9-]+)==(\S+) ", (ROOT / "deploy" / "requirements.txt").read_text(), re.MULTILINE))
    assert locked - named <= {("uv", dict(locked)["uv"])}, "what installs packages is taken out"
    assert any(name == "torch" for name, _ in named)


def test_the_commands_work(environment: dict[str, str]) -> None:
    assert "Usage" in in_image(environment, "fedrec", "--help")
    code = "from fedrec.deployment.bundle import own_bundle; print(own_bundle().hash)"
    from fedrec.deployment.bundle import own_bundle

    assert in_image(environment, "python", "-c", code).strip() == own_bundle().hash, "a bundle is the same everywhere"
