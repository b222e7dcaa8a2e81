"""The image of the working tree, built once, and the demonstration's containers, left up for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import IMAGE, Project, copy_of_tree, engine, project, run


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_tree(tmp_path_factory.mktemp("clone") / "fedrec")


@pytest.fixture(scope="session")
def environment(tree: Path) -> Iterator[dict[str, str]]:
    """With the image built, under the name that the compose files ask for."""
    with engine() as found:
        made = found | {"FEDREC_VERSION": IMAGE.partition(":")[2]}
        words = ["--build-arg", f"TORCH_INDEX={made.get('TORCH_INDEX', '')}", "--build-arg", "VERSION=test"]
        built = run("docker", "build", *words, "-t", IMAGE, tree, seconds=1200, env=made)
        assert built.returncode == 0, (built.stdout + built.stderr)[-3000:]
        yield made


@pytest.fixture(scope="module")
def up(tree: Path, environment: dict[str, str]) -> Iterator[Project]:
    """The demonstration's containers, but for its run."""
    with project(Project("fedrec-test", tree, environment)) as made:
        made.start()
        yield made
