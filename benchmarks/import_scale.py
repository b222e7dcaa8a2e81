"""Many rows imported and described: time and peak memory.

    python benchmarks/import_scale.py [--sources csv:1000000,parquet:100000000] [--markets 20]

Synthetic logs: a hundredth as many users as rows, a thousandth as many items, times in seconds, in the order in which
things happened, so that rows of all markets lie side by side. The file is written block by block into a scratch folder
(``--scratch``; 100 million rows are 4 GB as CSV) and removed. Each command is a process of its own. Rows of
benchmarks/results/import_scale.csv; what is there already is skipped.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from engines import timed
from results import append_rows, measured, say_complete

SOURCES = "parquet:1000000,csv:1000000,parquet:10000000,csv:10000000,parquet:100000000"
_BLOCK = 1_000_000
_MAP = ["--map", "user=user", "--map", "item=item", "--map", "time=time", "--map", "market=market"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", default=SOURCES, help="kind and number of rows of each")
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    done = measured("import_scale", "kind", "rows")
    wanted = [(kind, rows) for kind, _, rows in (one.partition(":") for one in options.sources.split(","))]
    missing = [one for one in wanted if one not in done]
    for kind, rows in missing:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            source, data = Path(scratch) / f"log.{kind}", Path(scratch) / "data"
            write_log(source, int(rows), options.markets)
            row = {"kind": kind, "rows": rows, "markets": options.markets}
            row["source_mb"] = round(source.stat().st_size / 1e6)
            row["import_seconds"], row["import_mb"] = measure("data", "import", kind, str(source), str(data), *_MAP)
            row["describe_seconds"], row["describe_mb"] = measure("data", "describe", str(data))
            row["store_mb"] = round(sum(path.stat().st_size for path in data.rglob("*.parquet")) / 1e6)
        print(row, flush=True)
        append_rows("import_scale", [row])
    if not missing:
        say_complete("import_scale")


def write_log(path: Path, rows: int, markets: int) -> None:
    """A log of ``rows`` interactions."""
    blocks = _blocks(rows, markets)
    if path.suffix == ".csv":
        with path.open("wb") as stream:
            for number, block in enumerate(blocks):
                stream.write(block.write_csv(include_header=number == 0).encode())
        return
    parts = []
    for number, block in enumerate(blocks):
        parts.append(path.with_name(f"part-{number:04d}.parquet"))
        block.write_parquet(parts[-1])
    pl.scan_parquet(parts).sink_parquet(path, maintain_order=True)
    for part in parts:
        part.unlink()


def _blocks(rows: int, markets: int) -> Iterator[pl.DataFrame]:
    generator = np.random.default_rng(0)
    users, items = max(rows // 100, 1), max(rows // 1000, 1)
    for start in range(0, rows, _BLOCK):
        size = min(_BLOCK, rows - start)
        user = generator.integers(users, size=size)
        popular = items * generator.random(size) ** 2  # a quarter of the items has half of the rows
        yield pl.DataFrame(
            {
                "user": user,
                "item": popular.astype(np.int64),
                "time": 1_600_000_000 + start // 2 + np.sort(generator.integers(max(size // 2, 1), size=size)),
                "market": user % markets,
            }
        ).with_columns(pl.format(f"{name}-{{}}", name).alias(name) for name in ("user", "item", "market"))


def measure(*words: str) -> tuple[str, int]:
    """Seconds and peak MB of one command of the software."""
    seconds, peak = timed([sys.executable, "-m", "fedrec.cli.main", *words])
    return f"{seconds:.1f}", round(peak)


if __name__ == "__main__":
    main()
