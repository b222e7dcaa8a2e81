"""Markets that never took part: leave one market out, train the others, adapt.

    python benchmarks/newcomers.py DATA_DIR [--markets jp,in] [--shares 0.05,0.2,1.0] [--seeds 0]

For each market: FeCoSR-style on the six others, then `fedrec adapt` for it with a share of its users known (the rest
train nothing and are only tested), the local-only twin beside it. Rows of benchmarks/results/newcomers.csv.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import append_rows, read_rows

from fedrec.data.store import open_stores

METHODS = ("popularity", "ease", "local_without_prior", "local", "federated_without_prior", "federated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--markets", default="jp,in")
    parser.add_argument("--shares", default="0.05,0.2,1.0")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    done = {(row["market"], row["share"], row["seed"]) for row in read_rows("newcomers")}
    names = [store.name for store in open_stores(options.data)]
    for market in options.markets.split(","):
        for seed in options.seeds.split(","):
            open_shares = [share for share in options.shares.split(",") if (market, share, seed) not in done]
            if open_shares:
                measure(options.data, market, [name for name in names if name != market], seed, open_shares)


def measure(data: Path, market: str, others: list[str], seed: str, shares: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "others"
        fedrec("run", "fecosr", "--data", data, "--out", source, "--seed", seed,
               "--set", f"data.markets=[{','.join(others)}]", "--set", "evaluation.methods=[federated]")  # fmt: skip
        for share in shares:
            out = Path(scratch) / f"share-{share}"
            fedrec("adapt", source, data, "--out", out, "--set", f"data.markets=[{market}]",
                   "--set", f"data.user_share={share}",
                   "--set", "evaluation.methods=[federated,local,popularity,ease]")  # fmt: skip
            figures = json.loads((out / "summary.json").read_text())["markets"][market]
            gain = figures["gain"]["ndcg@10"]
            row = {"market": market, "share": share, "seed": seed, "users": figures["evaluated_users"]}
            row |= {method: f"{figures['results'][method]['ndcg@10']:.6f}" for method in METHODS}
            row |= {f"gain_{part}": f"{value:.6f}" for part, value in gain.items()}
            print(row, flush=True)
            append_rows("newcomers", [row])


def fedrec(*arguments: Any) -> None:
    command = [sys.executable, "-m", "fedrec.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
