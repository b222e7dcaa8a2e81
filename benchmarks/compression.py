"""What compressing the updates saves, and what it costs: full, int8 and top-k on the seven XMarket markets.

    python benchmarks/compression.py DATA_DIR [--seeds 0] [--jobs 2]

Rows of benchmarks/results/compression.csv: bytes a round up and down, mean NDCG@10 over markets of the federated model
with and without the prior. What is there already is skipped, and a run that was interrupted is resumed.
"""

import argparse
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import results
from results import append_rows, measured, say_complete
from runs import finish, settings

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
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    options = parser.parse_args()
    done = measured("compression", "variant", "seed")
    wanted = [key for key in itertools.product(VARIANTS, options.seeds.split(",")) if key not in done]
    if not wanted:
        say_complete("compression")

    def run(key: tuple[str, str]) -> dict[str, Any]:
        variant, seed = key
        changes = ["evaluation.protocol=family", "evaluation.methods=[federated]", *VARIANTS[variant]]
        return finish(folder(key), "run", "fecosr", "--data", options.data, "--seed", seed, *settings(changes))

    def folder(key: tuple[str, str]) -> Path:
        return results.WORK / "compression" / f"{list(VARIANTS).index(key[0])}-{key[1]}"

    with ThreadPoolExecutor(options.jobs) as pool:
        for key, summary in zip(wanted, pool.map(run, wanted), strict=True):
            rounds, mean = summary["rounds"], summary["mean"]
            row = {
                "variant": key[0],
                "seed": key[1],
                "rounds": len(rounds),
                "kilobytes_up": f"{sum(record['bytes_up'] for record in rounds) / len(rounds) / 1e3:.1f}",
                "kilobytes_down": f"{sum(record['bytes_down'] for record in rounds) / len(rounds) / 1e3:.1f}",
                "federated": f"{mean['federated']['ndcg@10']:.6f}",
                "federated_without_prior": f"{mean['federated_without_prior']['ndcg@10']:.6f}",
            }
            print(row, flush=True)
            append_rows("compression", [row])
            shutil.rmtree(folder(key))


if __name__ == "__main__":
    main()
