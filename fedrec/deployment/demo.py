"""The demonstration of the repository's compose file: its files, and its one run.

``files VOLUME REPORT`` makes the whole deployment below VOLUME, once; stays up; and when a run has left its page, puts
page and summary into REPORT, a folder of the host, as files of that folder's owner. ``run CONNECTION`` leads the run,
waits until that is done, and ends with the run's exit code.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from logging import getLogger
from pathlib import Path

from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.deployment.alive import Alive
from fedrec.deployment.bundle import approve, own_bundle
from fedrec.deployment.create import IMAGE_USER, create_deployment
from fedrec.deployment.layout import CoordinatorPart, DeploymentFolder
from fedrec.deployment.logs import log_to_console
from fedrec.files import write_atomic

MARKETS = ("alfa", "bravo", "charlie")
HANDED_OVER = "handed-over"  # a file beside the runs, whose time says when a report was last put on the host
_REPORT = ("report.html", "summary.json")
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
_log = getLogger("fedrec.demo")


def make_files(volume: Path) -> DeploymentFolder:
    """The deployment of three synthetic markets, with data and consent, owned by the containers' user; made once."""
    folder = DeploymentFolder(volume / "deployment")
    if (volume / "coordinator").exists():
        return DeploymentFolder(volume)
    made = create_deployment(folder.path, MARKETS, None, masks=False)
    write_synthetic_markets(volume / "data", SynthSettings(markets=MARKETS))
    for part in made.markets:
        part.data.rmdir()
        (volume / "data" / part.name).rename(part.data)
    for host in (made.coordinator, *made.markets):
        approve(host.approved, own_bundle(), "the image's own")
    shutil.rmtree(volume / "data")
    shutil.rmtree(made.authority.parent)  # nothing more is to be signed
    for entry in sorted(made.path.rglob("*")):
        os.chown(entry, IMAGE_USER, IMAGE_USER, follow_symlinks=False)
    made.markets_folder.rename(volume / "markets")
    made.coordinator.path.rename(volume / "coordinator")  # last: it says that all is there
    shutil.rmtree(made.path)
    return DeploymentFolder(volume)


def hand_over(runs: Path, report: Path) -> bool:
    """Put the latest finished run's page and summary into the host's folder; True where there was something new."""
    marker = runs / HANDED_OVER
    last = marker.stat().st_mtime_ns if marker.exists() else 0
    folders = [folder for folder in runs.iterdir() if folder.is_dir() and not folder.is_symlink()]
    pages = [folder / "report.html" for folder in folders if (folder / "report.html").is_file()]
    pages = [page for page in pages if page.stat().st_mtime_ns > last]
    if not pages:
        return False
    newest = max(pages, key=lambda page: page.stat().st_mtime_ns)
    owner = report.stat()
    for name in _REPORT:
        # No link is followed: a bundle's code writes there, and this is root.
        descriptor = os.open(newest.with_name(name), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as stream:
            write_atomic(report / name, stream.read())
        os.chown(report / name, owner.st_uid, owner.st_gid)
    marker.touch()
    os.utime(marker, ns=(newest.stat().st_mtime_ns, newest.stat().st_mtime_ns))
    return True


def files(volume: Path, report: Path) -> None:
    """Make the files, then wait for reports, until the process is told to end."""
    runs = make_files(volume).coordinator.runs
    _log.info("keys, data and consent are made")
    alive = Alive.of_environment()
    while True:
        alive.sign()
        if hand_over(runs, report):
            _log.info("the report is in deploy/report")
        time.sleep(_LOOK_SECONDS)


def run(connection: Path) -> int:
    """Lead one run; its page is on the host when this returns."""
    runs = CoordinatorPart(connection).runs
    command = ["fedrec", "run", "fecosr", "--engine", "deploy", "--connection", str(connection)]
    code = subprocess.run(command, check=False).returncode  # noqa: S603
    pages = [page.stat().st_mtime_ns for page in runs.glob("*/report.html")]
    until = time.monotonic() + _PATIENCE_SECONDS
    marker = runs / HANDED_OVER
    while code == 0 and time.monotonic() < until:
        if marker.exists() and marker.stat().st_mtime_ns >= max(pages):
            return code
        time.sleep(_LOOK_SECONDS)
    return code


def main(words: list[str]) -> int:
    """Entry point of the two services."""
    log_to_console("demo")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if words[0] == "files":
        files(Path(words[1]), Path(words[2]))
    return run(Path(words[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
