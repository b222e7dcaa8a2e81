"""What secure aggregation adds to a round: all seven markets' work and the server's, one after the other on one thread.

    python benchmarks/masks.py [--parameters 1000000] [--markets 7] [--repetitions 5]

Writes benchmarks/results/masks.csv: a line for nobody, one and two markets that drop out after sharing their keys. A
line that is there already is skipped.
"""

import argparse
import statistics
import time

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from results import append_rows, measured, say_complete

from fedrec.masking.protocol import MarketMasks, Terms, default_threshold, unmask
from fedrec.masking.ring import fitting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--markets", type=int, default=7)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    done = measured("masks", "parameters", "markets", "dropped")
    wanted = [n for n in (0, 1, 2) if (str(options.parameters), str(options.markets), str(n)) not in done]
    if not wanted:
        say_complete("masks")
    for dropped in wanted:
        seconds = [measure(options.parameters, options.markets, dropped) for _ in range(options.repetitions)]
        row = {
            "parameters": options.parameters,
            "markets": options.markets,
            "dropped": dropped,
            "median_seconds": f"{statistics.median(seconds):.3f}",
            "lowest": f"{min(seconds):.3f}",
            "highest": f"{max(seconds):.3f}",
        }
        print(row, flush=True)
        append_rows("masks", [row])


def measure(parameters: int, markets: int, dropped: int) -> float:
    """Seconds from the first key to the open sum."""
    names = [f"m{number:03d}" for number in range(markets)]
    identities = {name: ec.generate_private_key(ec.SECP384R1()) for name in names}
    known = {name: key.public_key() for name, key in identities.items()}
    values = {name: np.random.default_rng(place).normal(size=parameters) for place, name in enumerate(names)}
    form, terms, threshold = fitting(markets, 16.0), Terms("run", "train.pretrain", 1), default_threshold(0.7, markets)
    started = time.perf_counter()
    parts = {name: MarketMasks.begin(name, terms) for name in names}
    announced = [part.announce(identities[name], 1.0) for name, part in parts.items()]
    ciphers = {name: part.share(announced, known, threshold) for name, part in parts.items()}
    survivors = names[dropped:]
    total = np.zeros(parameters, form.dtype)
    for name in survivors:
        received = {other: ciphers[other][name] for other in names if other != name}
        total = total + parts[name].mask({"w": form.encode(values[name])}, received)["w"]
    opened = {name: parts[name].open(survivors) for name in survivors}
    found = form.decode(
        unmask({"w": total}, terms, {part.market: part for part in announced}, survivors, opened, threshold)["w"]
    )
    seconds = time.perf_counter() - started
    expected = np.sum([values[name] for name in survivors], axis=0)
    if not np.abs(found - expected).max() <= markets * form.step:
        raise SystemExit("the sum is wrong")
    return seconds


if __name__ == "__main__":
    main()
