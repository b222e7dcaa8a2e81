"""Write the image's locks, ``requirements.txt`` and ``build.txt``: `make lock`, after pyproject or constraints change.

Versions are those of ``constraints.txt``; every file that an index may serve for them stands there by its SHA-256.
Torch and what only its CUDA build needs are left out: the Dockerfile installs them, from an index of the builder's
choice.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
TORCH = ("torch", "triton", "nvidia-", "cuda-")
UV = ["uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes", "-"]
PLATFORM = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]


def image_needs() -> list[str]:
    """What pyproject asks for, but for Ray: no host simulates."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [*project["dependencies"]]
    return [need.replace("[simulation]", "") for need in needs]


def build_needs() -> list[str]:
    """What makes the wheel."""
    needs: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    return needs


def locked(needs: list[str]) -> str:
    """The needs and all that these need, one block a package."""
    command = [str(Path(sys.executable).parent / UV[0]), *UV[1:], *PLATFORM, "-c", str(ROOT / "constraints.txt")]
    made = subprocess.run(command, input="\n".join(needs), capture_output=True, text=True, check=True)  # noqa: S603
    blocks = made.stdout.replace("\\\n    --hash", "\0    --hash").splitlines()
    return "".join(block.replace("\0", "\\\n") + "\n" for block in blocks if not block.startswith(TORCH))


if __name__ == "__main__":
    (HERE / "requirements.txt").write_text(locked(image_needs()), encoding="utf-8")
    (HERE / "build.txt").write_text(locked(build_needs()), encoding="utf-8")
