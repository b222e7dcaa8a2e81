"""What a federated round costs beyond training: the same batches with and without Flower, side by side.

    python benchmarks/round_overhead.py [DATA_DIR]

Every repetition times, in alternating order, one round through strategy, grid, client, pipeline and ledger, and the
plain loop over the same batches with the same validation pass. Prints the median ratio. With DATA_DIR it is also
written as the row of benchmarks/results/round_overhead.csv, and nothing is measured where that is there; without, five
synthetic markets are measured and nothing is written.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord
from results import append_rows, read_rows, say_complete

from fedrec.clients.app import app
from fedrec.data.store import open_stores
from fedrec.data.synth import SynthSettings, write_synthetic_markets
from fedrec.recipe import load_recipe, recipe_json
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.nodes import NodeConfig
from fedrec.strategies.records import array_record
from fedrec.strategies.shared_average import SharedAverage
from fedrec.threads import single_threaded
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer

REPETITIONS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    options = parser.parse_args()
    if options.data is not None and read_rows("round_overhead"):
        say_complete("round_overhead")
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.data is not None:
            append_rows("round_overhead", [measure(options.data, Path(scratch))])
            return
        synthetic = Path(scratch) / "data"
        write_synthetic_markets(synthetic, SynthSettings())
        measure(synthetic, Path(scratch))


def measure(data: Path, state: Path) -> dict[str, Any]:
    """The row: the median ratio of all repetitions, with the lowest and highest."""
    stores = open_stores(data)
    recipe = load_recipe("fecosr", ["semantics.kind=hashing"])
    recipe = recipe.resolved(all(store.families is not None for store in stores), True)
    trainers = [SequentialTrainer.alone(recipe, PreparedMarket(store, recipe)) for store in stores]
    initial = trainers[0].model.shared_state()
    node_configs = [
        NodeConfig({"market": store.name, "data-path": str(store.path), "state-path": str(state)}, store.count)
        for store in stores
    ]
    grid = InlineGrid(app, node_configs)
    node_of = dict(zip([store.name for store in stores], grid.get_node_ids(), strict=True))
    strategy = SharedAverage(node_of, recipe)
    config = ConfigRecord({"run": "run", "recipe": recipe_json(recipe), "round": "1"})
    arrays = array_record({name: value.numpy() for name, value in initial.items()})

    def plain() -> None:
        with single_threaded():
            for trainer in trainers:
                trainer.load(initial)
                trainer.validation()
                trainer.pretrain_round(1)

    def federated() -> None:
        messages = strategy.configure_train(1, arrays, config, grid)
        averaged, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
        if averaged is None:
            raise SystemExit(f"the round failed: {strategy.outcome}")

    plain()
    federated()
    ratios = []
    for repetition in range(REPETITIONS):
        pair: list[Callable[[], None]] = [plain, federated]
        times = {step.__name__: seconds(step) for step in (pair if repetition % 2 else reversed(pair))}
        ratios.append(times["federated"] / times["plain"])
        print(f"plain {times['plain']:.2f} s  federated {times['federated']:.2f} s  ratio {ratios[-1]:.3f}")
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.3f} over {len(stores)} markets")
    return {
        "markets": len(stores),
        "repetitions": REPETITIONS,
        "median_ratio": round(ratio, 4),
        "lowest": round(min(ratios), 4),
        "highest": round(max(ratios), 4),
    }


def seconds(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
