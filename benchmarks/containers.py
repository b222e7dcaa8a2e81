"""Containers in a real engine: the demonstration's seconds and memory, and what a kill costs in every phase.

    sudo python benchmarks/containers.py [--repeats 1]

Starts what `docker compose up` starts, in a project of its own. `containers_demo`: seconds until the first round and to
the end, and the most memory of each container. `containers_kills`: a small run is disturbed by SIGKILL for the first
process of one container in one phase, or by `docker compose restart`; seconds lost are against the undisturbed run
before. Rows that exist are skipped. Build the image first: `make image`; FEDREC_VERSION names its tag.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from results import append_rows, measured, say_complete

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import quickly
from tests.containers.engine import Project, Watch, copy_of_tree, engine, project

PHASES: dict[str, Callable[[list[dict[str, object]]], bool]] = {
    "set-up": lambda events: any(one["event"] == "submitted" for one in events),
    "round": lambda events: sum(one["event"] == "round" for one in events) >= 2,
    "fine-tuning": lambda events: any(one.get("action") == "train.finetune" for one in events),
    "evaluation": lambda events: any(one.get("action") == "evaluate.report" for one in events),
}
VICTIMS = ("market-bravo", "node-bravo", "superlink", "coordinator")
SETTINGS = quickly(
    "federation.rounds=8", "federation.patience=100", "finetune.epochs=8", "evaluation.methods=[federated, popularity]"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    repeats = [
        repeat for repeat in range(options.repeats) if (str(repeat),) not in measured("containers_demo", "repeat")
    ]
    left = [
        (victim, phase)
        for victim in (*VICTIMS, "all by compose restart")
        for phase in PHASES
        if (victim, phase) not in measured("containers_kills", "killed", "phase")
    ]
    if not (repeats or left):
        say_complete("containers_demo")
        return
    with engine() as found, tempfile.TemporaryDirectory() as scratch:
        environment = found | {"FEDREC_VERSION": os.environ.get("FEDREC_VERSION", "latest")}
        tree = copy_of_tree(Path(scratch) / "fedrec")
        one = Project("fedrec-measured", tree, environment)
        for repeat in repeats:
            append_rows("containers_demo", [demonstration(one, repeat)])
        if left:
            kills(one, left)


def demonstration(one: Project, repeat: int) -> dict[str, object]:
    """`docker compose up` to the end."""
    with project(one) as made, Watch(one.name) as watch:
        began, first = time.monotonic(), 0.0
        process = made.popen("up", "--no-build", "--exit-code-from", "run")
        if process.stdout is None:
            raise RuntimeError("no output")
        for line in process.stdout:
            if not first and "round 1/" in line:
                first = time.monotonic() - began
        code = process.wait()
        if code:
            raise SystemExit(f"the demonstration ended with {code}")
        summary = json.loads((made.folder / "deploy" / "report" / "summary.json").read_text())
        rounds = [record["seconds"] for record in summary["rounds"]][1:]
        memory = {f"{name} MB": round(most) for name, most in sorted(watch.most.items())}
        return {
            "repeat": repeat,
            "first round s": f"{first:.0f}",
            "round s": f"{statistics.median(rounds):.2f}",
            "all s": f"{time.monotonic() - began:.0f}",
            **memory,
        }


def kills(one: Project, left: list[tuple[str, str]]) -> None:
    """One undisturbed run, then one for every victim and phase."""
    with project(one) as made:
        made.start()
        lead(made, "warm", None)  # starts the markets' processes
        plain = lead(made, "undisturbed", None)
        for victim, phase in left:
            name = f"{victim}-{phase}".replace(" ", "-")
            took = lead(made, name, lambda v=victim, p=phase, n=name: disturb(made, v, p, n))  # type: ignore[misc]
            rounds = made.summary(name)["rounds"]
            missed = [one["market"] for record in rounds for one in record["rejected"]]
            starts = len(made.events(name, "submitted"))
            row = {
                "killed": victim,
                "phase": phase,
                "rounds missed": len(missed),
                "starts of the run": starts,
                "seconds lost": f"{took - plain:.0f}",
                "undisturbed s": f"{plain:.0f}",
            }
            print(row, flush=True)
            append_rows("containers_kills", [row], key=("killed", "phase"))
            made.wait_for_health(180)


def disturb(made: Project, victim: str, phase: str, name: str) -> None:
    """Wait for the phase, then kill."""
    made.wait(lambda: PHASES[phase](made.all_events(name)), phase, 120)
    if victim == "all by compose restart":
        made.compose("restart", "--timeout", "3", *made.services())
    else:
        made.kill(victim)


def lead(made: Project, name: str, meanwhile: Callable[[], None] | None) -> float:
    """A run to its end, led from a container of its own; the seconds it took."""
    began = time.monotonic()
    process = made.lead(name, SETTINGS)
    if meanwhile is not None:
        meanwhile()
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise SystemExit(f"{name}: {output}{made.logs()}")
    return time.monotonic() - began


if __name__ == "__main__":
    main()
