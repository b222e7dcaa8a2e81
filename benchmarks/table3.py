"""The published table again: as many splits of every model as its time allows, in one command.

    python benchmarks/table3.py DATA_DIR

The same runs as `fedrec bench table3`, which gives every model the same splits. Rows of
benchmarks/results/table3/rows.csv; a model that has its rows for a split is skipped, and a federation that was
interrupted is resumed.
"""

import argparse
from pathlib import Path

from results import commit, path_of, say_complete

from fedrec.offline import go_offline
from fedrec.report.table3 import MARKETS

SPLITS = {  # of each run of `fedrec bench table3 --models list`
    "baselines": 5,
    "baselines-own": 5,
    "neumf": 5,
    "neumf-own": 5,
    "wide-deep": 5,
    "wide-deep-own": 5,
    "neumf++": 5,
    "wide-deep++": 5,
    "conet": 5,
    "cross-stitch": 5,
    "fecosr": 5,
    "fedease": 5,
    "forec": 2,
    "m3rec": 2,
    "bert4rec": 1,
    "bert4rec-own": 1,
    "bert4rec++": 1,
    "ddtcdr": 1,
    "mmoe": 1,
    "codes": 1,
    "federated-acmr": 1,
    "acmr-apart": 1,
    "acmr-no-market": 1,
    "acmr-single": 1,
    "acmr": 1,  # the longest comes last
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    go_offline()  # before Flower is imported
    from fedrec.simulation.table3 import ENTRIES, bench
    from fedrec.simulation.table3.rows import read_rows

    path = path_of("table3/rows")
    done = {(row["model"], row["market"], int(row["split"])) for row in read_rows(path)}
    complete = True
    for name, splits in SPLITS.items():
        rows = {(model, market) for model in ENTRIES[name].models for market in MARKETS}
        wanted = [split for split in range(splits) if not {(*row, split) for row in rows} <= done]
        if wanted:
            complete = False
            for _ in bench(options.data, [name], None, wanted, path, commit(), print):
                pass
    if complete:
        say_complete("table3/rows")


if __name__ == "__main__":
    main()
