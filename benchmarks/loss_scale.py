"""S2CE beside plain cross-entropy: processor time and peak memory of a step forward and back, by size of catalogue.

    python benchmarks/loss_scale.py [--items 10000,100000,1000000] [--queries 64,1024] [--repeats 5]

Both on one thread, one after the other in turns, each in a process of its own; the fastest of so many repeats counts.
S2CE spreads a third of every target over twenty neighbours, given (finding them is not measured). Rows of
benchmarks/results/loss_scale.csv: seconds, the ratio of both, memory beyond keys and queries in shares of the keys'.
Sizes that have their row are skipped.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time

from results import append_rows, measured, say_complete

DIMENSION, NEIGHBOURS = 65, 20
LOSSES = ("s2ce", "cross-entropy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--queries", default="64,1024")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        loss, items, queries = options.one
        print(json.dumps(step(loss, int(items), int(queries))))
        return
    done = measured("loss_scale", "items", "queries")
    wanted = [
        size for size in itertools.product(options.items.split(","), options.queries.split(",")) if size not in done
    ]
    if not wanted:
        say_complete("loss_scale")
    for items, queries in wanted:
        found: dict[str, list[dict[str, float]]] = {loss: [] for loss in LOSSES}
        for _ in range(options.repeats):
            for loss in LOSSES:
                command = [sys.executable, __file__, "--one", loss, items, queries]
                found[loss].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        seconds = {loss: min(one["seconds"] for one in rows) for loss, rows in found.items()}
        memory = {loss: min(one["memory"] for one in rows) for loss, rows in found.items()}
        row = {
            "items": items,
            "queries": queries,
            **{f"{loss} seconds": f"{seconds[loss]:.4f}" for loss in LOSSES},
            "ratio": f"{seconds['s2ce'] / seconds['cross-entropy']:.3f}",
            **{f"{loss} memory": f"{memory[loss]:.2f}" for loss in LOSSES},
        }
        print(row, flush=True)
        append_rows("loss_scale", [row], ("items", "queries"))


def step(loss: str, items: int, queries: int) -> dict[str, float]:
    """Processor seconds of one step, the fastest of three, and peak memory beyond the inputs over that of the keys."""
    import torch

    from fedrec.losses.s2ce import SoftTargets, s2ce

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(queries, DIMENSION, generator=generator).requires_grad_()
    right = torch.randn(items, DIMENSION, generator=generator).requires_grad_()
    targets = torch.randint(items, (queries,), generator=generator)
    soft = SoftTargets(
        torch.randint(items, (items, NEIGHBOURS), generator=generator), torch.full((items, NEIGHBOURS), 1 / NEIGHBOURS)
    )
    torch.nn.functional.cross_entropy(left[:2] @ right[:100].T, targets[:2] % 100).backward()  # libraries are there
    left.grad = right.grad = None
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(3):
        started = time.process_time()
        if loss == "s2ce":
            value = s2ce(left, right, targets, soft, 0.3)
        else:
            value = torch.nn.functional.cross_entropy(left @ right.T, targets)
        value.backward()
        seconds.append(time.process_time() - started)
        left.grad = right.grad = None
        del value
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"seconds": min(seconds), "memory": peak / (items * DIMENSION * 4)}


if __name__ == "__main__":
    main()
