"""Keep the rows of finished privacy sweeps.

    fedrec sweep privacy fecosr --data DIR --out SWEEP ...
    python benchmarks/privacy.py fecosr SWEEP [SWEEP ...]

Copies ``tradeoff.csv`` of each sweep into benchmarks/results/privacy_NAME.csv; several sweeps are for several seeds.
"""

import argparse
import csv
from pathlib import Path

from results import append_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("sweeps", type=Path, nargs="+")
    options = parser.parse_args()
    rows = []
    for sweep in options.sweeps:
        with (sweep / "tradeoff.csv").open(newline="", encoding="utf-8") as stream:
            rows += [{**row, "epsilon": f"{float(row['epsilon']):g}"} for row in csv.DictReader(stream)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    append_rows(f"privacy_{options.name}", [{name: row.get(name, "") for name in columns} for row in rows])


if __name__ == "__main__":
    main()
