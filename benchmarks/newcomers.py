"""Markets that never took part: leave one market out, train the others, adapt.

    python benchmarks/newcomers.py DATA_DIR [--markets jp,in] [--shares 0.05,0.2,1.0] [--seeds 0]

For each market: FeCoSR-style on the six others, then `fedrec adapt` for it with a share of its users known (the rest
train nothing and are only tested), the local baseline beside it. Rows of benchmarks/results/newcomers.csv. A share that
has its row is skipped; the run of the other markets stays below benchmarks/work until all shares have theirs.
"""

import argparse
import shutil
from pathlib import Path

import results
from results import append_rows, measured, say_complete
from runs import finish, settings

from fedrec.data.store import open_stores

METHODS = ("popularity", "ease", "local_without_prior", "local", "federated_without_prior", "federated")
NAME = ("market", "share", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--markets", default="jp,in")
    parser.add_argument("--shares", default="0.05,0.2,1.0")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    done = measured("newcomers", *NAME)
    complete = True
    for market in options.markets.split(","):
        for seed in options.seeds.split(","):
            shares = [share for share in options.shares.split(",") if (market, share, seed) not in done]
            if shares:
                complete = False
                measure(options.data, market, seed, shares)
    if complete:
        say_complete("newcomers")


def measure(data: Path, market: str, seed: str, shares: list[str]) -> None:
    """One federation without the market, then an adaptation and a row for each share."""
    work = results.WORK / "newcomers" / f"{market}-{seed}"
    others = ",".join(store.name for store in open_stores(data) if store.name != market)
    alone = settings([f"data.markets=[{others}]", "evaluation.methods=[federated]"])
    finish(work / "others", "run", "fecosr", "--data", data, "--seed", seed, *alone)
    for share in shares:
        changes = [f"data.markets=[{market}]", f"data.user_share={share}"]
        changes.append("evaluation.methods=[federated,local,popularity,ease]")
        summary = finish(work / f"share-{share}", "adapt", work / "others", data, *settings(changes))
        figures = summary["markets"][market]
        row = {"market": market, "share": share, "seed": seed, "users": figures["evaluated_users"]}
        row |= {method: f"{figures['results'][method]['ndcg@10']:.6f}" for method in METHODS}
        row |= {f"gain_{part}": f"{value:.6f}" for part, value in figures["gain"]["ndcg@10"].items()}
        print(row, flush=True)
        append_rows("newcomers", [row], NAME)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
