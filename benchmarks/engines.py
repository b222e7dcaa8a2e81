"""One recipe on every engine: are the summaries identical, and how long does each take?

    python benchmarks/engines.py DATA_DIR [--set key=value ...]

Rows of benchmarks/results/engines.csv: seconds of the whole command (start-up and imports included), of the run, and of
its rounds; peak memory of the process and all its children together; whether the summary equals the inline one. The
rows are written together, when all engines are done; nothing is run where they are there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from results import append_rows, measured, say_complete

from fedrec.runs.summary import comparable

ENGINES = {"inline": [], "inline, 2 workers": ["engine.workers=2"], "ray": ["engine.kind=ray"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    if {(name,) for name in ENGINES} <= measured("engines", "engine"):
        say_complete("engines")
        return
    rows, first = [], None
    with tempfile.TemporaryDirectory() as scratch:
        for name, settings in ENGINES.items():
            out = Path(scratch) / name.replace(", ", "-").replace(" ", "-")
            seconds, peak, summary = run(options.data, out, [*options.overrides, *settings])
            first = first or summary
            rounds = summary["rounds"]
            row = {
                "engine": name,
                "markets": len(summary["markets"]),
                "rounds": len(rounds),
                "command_seconds": round(seconds, 1),
                "run_seconds": round(summary["seconds"]["total"], 1),
                "round_seconds": f"{sum(record['seconds'] for record in rounds[1:]) / max(len(rounds) - 1, 1):.3f}",
                "peak_mb": round(peak),
                "identical": comparable(summary) == comparable(first),
            }
            print(row, flush=True)
            rows.append(row)
    append_rows("engines", rows, ["engine"])


def run(data: Path, out: Path, overrides: list[str]) -> tuple[float, float, dict[str, Any]]:
    """Seconds, peak MB of the process tree, summary."""
    command = [sys.executable, "-m", "fedrec.cli.main", "run", "fecosr", "--data", str(data), "--out", str(out)]
    command += [part for override in overrides for part in ("--set", override)]
    seconds, peak = timed(command)
    return seconds, peak, json.loads((out / "summary.json").read_text())


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and peak MB of its process tree."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, tree_megabytes(process.pid))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return time.perf_counter() - started, peak


def tree_megabytes(pid: int) -> float:
    """Memory of a process and its descendants, shared pages counted once for each that owns a share (PSS)."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0.0
    return total / 1e6


if __name__ == "__main__":
    main()
