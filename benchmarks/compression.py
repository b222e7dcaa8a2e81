"""What compressing the updates saves, and what it costs: full, int8 and top-k on the seven XMarket markets.

    python benchmarks/compression.py DATA_DIR [--seeds 0] [--workers 2]

Rows of benchmarks/results/compression.csv: bytes a round up and down, mean NDCG@10 over markets of the federated model
with and without the prior. What is there already is skipped.
"""

import argparse
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import append_row, read_rows
from xmarket import run

VARIANTS = {
    "full": [],
    "int8": ["update.compression=int8"],
    "top-k 5 %": ["update.compression=top-k", "update.top_share=0.05"],
    "top-k 1 %": ["update.compression=top-k", "update.top_share=0.01"],
    "top-k 1 %, no error feedback": [
        "update.compression=top-k",
        "update.top_share=0.01",
        "update.error_feedback=false",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    done = {(row["variant"], row["seed"]) for row in read_rows("compression")}
    wanted = [key for key in itertools.product(VARIANTS, options.seeds.split(",")) if key not in done]

    def measure(key: tuple[str, str]) -> None:
        variant, seed = key
        overrides = ["evaluation.methods=[federated]", *VARIANTS[variant]]
        summary, _ = run("fecosr", options.data, overrides, ("family", "0.3", int(seed)))
        rounds, mean = summary["rounds"], summary["mean"]
        row = {
            "variant": variant,
            "seed": seed,
            "rounds": len(rounds),
            "kilobytes_up": f"{sum(record['bytes_up'] for record in rounds) / len(rounds) / 1e3:.1f}",
            "kilobytes_down": f"{sum(record['bytes_down'] for record in rounds) / len(rounds) / 1e3:.1f}",
            "federated": f"{mean['federated']['ndcg@10']:.6f}",
            "federated_without_prior": f"{mean['federated_without_prior']['ndcg@10']:.6f}",
        }
        print(row, flush=True)
        append_row("compression", row)

    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(measure, wanted))


if __name__ == "__main__":
    main()
