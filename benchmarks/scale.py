"""Many tiny markets: seconds a round and peak memory, engine by engine.

    python benchmarks/scale.py [--markets 10,100,1000] [--engines "inline;inline, 2 workers;ray"] [--sampled 100]

Synthetic markets of 20 users and about 60 items each, a small model, text semantics, four rounds; only the rounds after
the first are timed. Rows of benchmarks/results/scale.csv; what is there already is skipped. ``--sampled``: so many
markets train in a round, and as many fixed ones validate; rows of scale_sampled.csv, which also say what share of a
round is training.
"""

import argparse
import tempfile
from pathlib import Path

from engines import ENGINES, run
from results import append_rows, measured, say_complete

from fedrec.data.synth import SynthSettings, write_synthetic_markets

SETTINGS = [
    "model.dimension=16",
    "model.bottleneck=4",
    "semantics.dimension=16",
    "loss.neighbours=5",
    "federation.rounds=4",
    "federation.patience=9",
    "finetune.epochs=1",
    "ease.lambdas=[100]",
    "ease.popularity_weights=[0]",
    "evaluation.methods=[federated]",
    "evaluation.resamples=10",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", default="10,100,1000")
    parser.add_argument("--engines", default="inline;inline, 2 workers;ray")
    parser.add_argument("--sampled", type=int)
    options = parser.parse_args()
    table = "scale" if options.sampled is None else "scale_sampled"
    done = measured(table, "engine", "markets")
    complete = True
    for count in options.markets.split(","):
        engines = [engine for engine in options.engines.split(";") if (engine, count) not in done]
        if not engines:
            continue
        complete = False
        names = tuple(f"m{index:04d}" for index in range(int(count)))
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "data"
            write_synthetic_markets(data, SynthSettings(names, 20, 60, 6, 8.0, 0.9, 0.2, 1.0, 0))
            for engine in engines:
                out = Path(scratch) / engine.replace(", ", "-").replace(" ", "-")
                few = [] if options.sampled is None else sampled(options.sampled, int(count))
                seconds, peak, summary = run(data, out, [*SETTINGS, *few, *ENGINES[engine]])
                rounds = [record["seconds"] for record in summary["rounds"]][1:]
                row = {
                    "engine": engine,
                    "markets": count,
                    "round_seconds": f"{sum(rounds) / len(rounds):.3f}",
                    "per_market_milliseconds": f"{1000 * sum(rounds) / len(rounds) / int(count):.2f}",
                    "setup_seconds": f"{summary['seconds']['setup']:.1f}",
                    "command_seconds": f"{seconds:.1f}",
                    "peak_mb": round(peak),
                }
                if options.sampled is not None:
                    training = [record["train_seconds"] / record["seconds"] for record in summary["rounds"]][1:]
                    row |= {"sampled": options.sampled, "training_share": f"{sum(training) / len(training):.2f}"}
                print(row, flush=True)
                append_rows(table, [row])
    if complete:
        say_complete(table)


def sampled(count: int, markets: int) -> list[str]:
    """Settings under which so many markets train in a round, and as many validate."""
    return [f"federation.participation={count / markets}", f"federation.validators={count}"]


if __name__ == "__main__":
    main()
