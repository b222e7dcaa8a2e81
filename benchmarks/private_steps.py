"""What per-user gradients cost: the same batches with and without differential privacy, side by side.

    python benchmarks/private_steps.py DATA_DIR [--market uk] [--batches 8] [--repetitions 5]

Plain training of the same parameters on the same batches against clipped sums of per-user gradients with noise; the
order alternates. `frozen`: item vectors stay as they are (privacy.trains=encoder); `table`: items are known by a
trained table of 256 codes; `adaptor`: everything is trained (privacy.trains=everything), so that every user has a
catalogue of their own. Median ratios go to benchmarks/results/private_steps.csv; a case that is there is skipped.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from results import append_rows, measured, say_complete

from fedrec.components import Items, Loss
from fedrec.data.batches import Batch, training_batches
from fedrec.data.store import open_store
from fedrec.losses.s2ce import S2CE
from fedrec.models.adaptor import ItemCodes
from fedrec.models.sequential import SequentialModel, build_model
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release
from fedrec.recipe import Recipe, load_recipe
from fedrec.threads import single_threaded
from fedrec.training.loop import batch_loss, make_optimiser, train_epoch
from fedrec.training.prepared import PreparedMarket
from fedrec.training.private import PrivateSteps, private_step, users_together

CODES = 256
CASES = ("frozen", "table", "adaptor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--market", default="uk")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    done = measured("private_steps", "market", "case")
    wanted = [case for case in CASES if (options.market, case) not in done]
    if not wanted:
        say_complete("private_steps")
        return
    recipe = load_recipe("fecosr", ["evaluation.protocol=family", "semantics.kind=cooccurrence"])
    market = PreparedMarket(open_store(options.data / options.market), recipe)
    generator = np.random.default_rng(0)
    length, size = recipe.model.maximum_length, recipe.training.batch_size
    batches = list(training_batches(market.train, size, length, generator))[: options.batches]
    vectors = torch.nn.functional.normalize(torch.randn(len(market.items), recipe.semantics.dimension), dim=1)
    codes = ItemCodes(torch.randint(CODES, (len(vectors), 1)), (CODES,), torch.zeros(len(vectors), 0).long(), ())
    loss = S2CE(recipe.loss, Items(vectors, torch.ones(len(vectors), dtype=torch.bool)))
    with single_threaded():
        for case in wanted:
            model = build_model(
                recipe.model, recipe.encoder, vectors, recipe.loss.tau, 0, codes if case == "table" else None
            )
            for name, parameter in model.named_parameters():
                trained = name.startswith("encoder.") or (case != "frozen" and name.startswith("adaptor."))
                parameter.requires_grad_(trained)
            ratios, plain, private = measure(model, batches[: 2 if case == "adaptor" else None], loss, recipe, options)
            row = {
                "market": options.market,
                "items": len(vectors),
                "case": case,
                "repetitions": options.repetitions,
                "plain_milliseconds": f"{plain:.0f}",
                "private_milliseconds": f"{private:.0f}",
                "ratio": f"{statistics.median(ratios):.2f}",
                "lowest": f"{min(ratios):.2f}",
                "highest": f"{max(ratios):.2f}",
            }
            print(row, flush=True)
            append_rows("private_steps", [row])


def measure(
    model: SequentialModel, batches: Sequence[Batch], loss: Loss, recipe: Recipe, options: argparse.Namespace
) -> tuple[list[float], float, float]:
    """Ratios of all repetitions, and the median milliseconds a batch of either side."""
    optimiser = make_optimiser(model, recipe.training, 1e-6)
    noise = SecretNoise(bytes(32), "benchmark")
    steps = PrivateSteps(1.0, Release("update", 1.0, 1.0, 1), recipe.training.batch_size, noise, "update", "asked")

    def plain() -> None:
        train_epoch(model, batches, optimiser, lambda batch: batch_loss(model, batch, loss))

    def private() -> None:
        model.eval()
        size = users_together(model)
        for step, batch in enumerate(batches):
            starts = range(0, len(batch.lengths), size)
            pieces = [Batch(batch.items[start : start + size], batch.lengths[start : start + size]) for start in starts]
            whose = [
                (piece, [f"{start} {row}" for row in range(len(piece.lengths))])
                for start, piece in zip(starts, pieces, strict=True)
            ]
            private_step(model, whose, optimiser, loss, steps, step)

    ratios, times = [], {plain: [], private: []}
    plain()
    for repetition in range(options.repetitions):
        order = (plain, private) if repetition % 2 else (private, plain)
        for side in order:
            times[side].append(seconds(side) * 1e3 / len(batches))
        ratios.append(times[private][-1] / times[plain][-1])
    return ratios, statistics.median(times[plain]), statistics.median(times[private])


def seconds(side: Callable[[], None]) -> float:
    started = time.perf_counter()
    side()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
