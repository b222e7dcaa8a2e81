"""What a ranker's statistics and rounds give away, by `fedrec audit`, for several least counts.

    python benchmarks/ranker_audit.py DATA_DIR [--counts 1,2,3,5]

Each run leaves a fifth of the users out and trains ten rounds without another model's scores; then its statistics and
its rounds are attacked. Rows of benchmarks/results/ranker_audit.csv: every figure of every attack, control and market.
A least count that has its rows is skipped.
"""

import argparse
import shutil
from pathlib import Path

import results
from results import append_rows, measured, say_complete
from runs import fedrec, finish, settings

from fedrec.files import read_json

RUN = (
    "data.user_share=0.8",
    "evaluation.methods=[federated]",
    "evaluation.resamples=20",
    "federation.rounds=10",
    "scores.kind=none",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", default="1,2,3,5")
    options = parser.parse_args()
    done = measured("ranker_audit", "min_count")
    wanted = [count for count in options.counts.split(",") if (count,) not in done]
    if not wanted:
        say_complete("ranker_audit")
    for count in wanted:
        out = results.WORK / "ranker_audit" / count
        words = settings([*RUN, f"algorithm.min_count={count}"])
        finish(out, "run", "ranker", "--data", options.folder, *words)
        fedrec("audit", out)
        rows = [
            {
                "min_count": count,
                **{name: found[name] for name in ("market", "attack", "observer", "by", "control")},
                "figure": figure,
                "value": f"{value:.6f}",
            }
            for found in read_json(out / "audit.json")["findings"]
            for figure, value in found["figures"].items()
        ]
        append_rows("ranker_audit", rows, ("min_count",))
        shutil.rmtree(out)
        print(count, len(rows), flush=True)


if __name__ == "__main__":
    main()
