"""The long table: FeCoSR-style on the seven XMarket markets, S2CE beside cross-entropy, protocol by protocol.

    python benchmarks/xmarket.py DATA_DIR [--seeds 0,1,2] [--protocols family,temporal] [--lams 0.3,0] [--workers 2]

Each run is one `fedrec run`; its figures become rows of benchmarks/results/xmarket.csv (per market and method) and
benchmarks/results/xmarket_runs.csv (per run). A run that already has its rows is skipped, so the table can be finished
in another session. `--variant NAME --set key=value` measures a changed recipe into files named xmarket_NAME.
`python benchmarks/tables.py` turns the rows into docs/results.md.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from results import append_row, read_rows

METRICS = ("ndcg@10", "recall@10", "mrr@10", "ndcg@20", "coverage@10")
Key = tuple[str, str, int]  # protocol, lam, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--protocols", default="family,temporal")
    parser.add_argument("--lams", default="0.3,0.0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variant")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    table = f"xmarket_{options.variant}" if options.variant else "xmarket"
    done = {(row["protocol"], row["lam"], int(row["seed"])) for row in read_rows(f"{table}_runs")}
    wanted: list[Key] = [
        (protocol, lam, int(seed))
        for seed, protocol, lam in itertools.product(
            options.seeds.split(","), options.protocols.split(","), options.lams.split(",")
        )
    ]
    open_runs = [key for key in wanted if key not in done]
    with ThreadPoolExecutor(options.workers) as pool:
        for key, summary in zip(
            open_runs, pool.map(partial(run, options.data, options.overrides), open_runs), strict=True
        ):
            record(table, key, summary)
            print(key, round(summary["mean"]["federated"]["ndcg@10"], 4), flush=True)


def run(data: Path, overrides: list[str], key: Key) -> dict[str, Any]:
    """One `fedrec run` in a process of its own."""
    protocol, lam, seed = key
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = [sys.executable, "-m", "fedrec.cli.main", "run", "fecosr", "--data", str(data), "--out", str(out)]
        command += ["--seed", str(seed), "--set", f"evaluation.protocol={protocol}", "--set", f"loss.lam={lam}"]
        command += [part for override in overrides for part in ("--set", override)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        return summary


def record(table: str, key: Key, summary: dict[str, Any]) -> None:
    """Write the run's rows; the row of the run itself comes last and says that all are there."""
    name = dict(zip(("protocol", "lam", "seed"), key, strict=True))
    for market, figures in summary["markets"].items():
        for method, metrics in figures["results"].items():
            values = {metric: f"{metrics[metric]:.6f}" for metric in METRICS}
            append_row(table, {**name, "market": market, "method": method, **values})
        for metric, interval in figures["gain"].items():
            if metric in METRICS:
                values = {part: f"{value:.6f}" for part, value in interval.items()}
                append_row(f"{table}_gains", {**name, "market": market, "metric": metric, **values})
    drift = [record["drift"] for record in summary["rounds"]]
    append_row(
        f"{table}_runs",
        {
            **name,
            "rounds": len(summary["rounds"]),
            "drift": f"{statistics.fmean(drift):.4f}",
            "megabytes_up": f"{summary['bytes']['up'] / 1e6:.2f}",
            "megabytes_down": f"{summary['bytes']['down'] / 1e6:.2f}",
            "seconds": round(summary["seconds"]["total"]),
            "peak_rss_mb": round(summary["peak_rss_mb"]),
        },
    )


if __name__ == "__main__":
    main()
