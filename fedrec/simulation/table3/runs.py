"""Run after run, each appended when it is whole."""

import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from fedrec.data.store import open_stores
from fedrec.errors import UserError
from fedrec.metrics.ranking import ndcg, recall
from fedrec.progress import Progress, no_progress
from fedrec.report.table3 import METRICS, Row
from fedrec.simulation.table3.entries import ENTRIES, Entry
from fedrec.simulation.table3.ground import Ground, Ranks, Results
from fedrec.simulation.table3.rows import append_rows, read_rows
from fedrec.threads import single_threaded
from fedrec.training.pointwise import Settings


def bench(
    folder: Path,
    entries: Sequence[str],
    markets: Sequence[str] | None,
    splits: Sequence[int],
    rows: Path,
    stamp: str,
    progress: Progress,
    details: Progress = no_progress,
    settings: Settings | None = None,
) -> Iterator[list[Row]]:
    """Make every run that lacks rows in ``rows``; after each, all rows there are. ``stamp`` goes into every new row;
    ``progress`` hears of every run, ``details`` of every epoch."""
    names = [store.name for store in open_stores(folder)]
    unknown = sorted(set(markets or ()) - set(names))
    if unknown:
        raise UserError(f"--markets {unknown[0]!r}: not in {folder}; it has {', '.join(names)}")
    unfinished = rows.parent / "unfinished"
    targets = tuple(market for market in names if markets is None or market in markets)
    for split in splits:
        for name in entries:
            entry = ENTRIES[name]
            known = {(row["model"], row["market"], int(row["split"])) for row in read_rows(rows)}
            missing = tuple(t for t in targets if any((model, t, split) not in known for model in entry.models))
            if missing:
                progress(f"{name}, split {split}: {', '.join(missing)}")
                started = time.perf_counter()
                with single_threaded():
                    results = entry.run(Ground(folder, split, missing, unfinished, settings or Settings(), details))
                seconds = time.perf_counter() - started
                append_rows(rows, _rows(entry, results, split, seconds, stamp, known))
                shutil.rmtree(unfinished, ignore_errors=True)
            yield read_rows(rows)


def _rows(
    entry: Entry, results: Results, split: int, seconds: float, stamp: str, known: set[tuple[str, str, int]]
) -> list[Row]:
    return [
        {
            "stamp": stamp,
            "version": version("fedrec"),
            "model": model,
            "market": market,
            "split": str(split),
            **{metric: f"{value:.6f}" for metric, value in _metrics(figures.ranks).items()},
            "users": str(len(figures.ranks)),
            "validation": "" if figures.validation is None else f"{figures.validation:.6f}",
            "epochs": "" if figures.epochs is None else str(figures.epochs),
            "run_seconds": f"{seconds:.0f}",
        }
        for model in entry.models
        for market, figures in sorted(results[model].items())
        if (model, market, split) not in known
    ]


def _metrics(ranks: Ranks) -> dict[str, float]:
    """The four of the published table."""
    by_name = {"recall": recall, "ndcg": ndcg}
    return {metric: float(by_name[metric.split("@")[0]](ranks, int(metric.split("@")[1])).mean()) for metric in METRICS}
