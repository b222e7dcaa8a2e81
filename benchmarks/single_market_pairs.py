"""Of the item pairs that two users or more of a market have, how many does no other market sell: a sum is theirs alone.

    python benchmarks/single_market_pairs.py DIR

Pairs as federated EASE and shared semantics count them (train items, protocol ``family``); a pair counts as sold
elsewhere where one other market has both items in its catalogue. Rows: ``benchmarks/results/single_market_pairs.csv``;
nothing is counted where they are there.
"""

import argparse
from pathlib import Path

from results import append_rows, read_rows, say_complete

from fedrec.data.store import open_stores
from fedrec.exchange.pairs import count_pairs
from fedrec.recipe import load_recipe
from fedrec.training.prepared import PreparedMarket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    if read_rows("single_market_pairs"):
        say_complete("single_market_pairs")
        return
    recipe = load_recipe("fedease", ["evaluation.protocol=family"])
    markets = [PreparedMarket(store, recipe) for store in open_stores(options.data)]
    catalogues = {market.store.name: set(market.items) for market in markets}
    rows = []
    for market in markets:
        counts = count_pairs(market.train.matrix(), 2, diagonal=False)
        pairs = [(market.items[a], market.items[b]) for a, b in zip(counts.first, counts.second, strict=True)]
        others = [sold for name, sold in catalogues.items() if name != market.store.name]
        alone = sum(not any(first in sold and second in sold for sold in others) for first, second in pairs)
        rows.append(
            {"market": market.store.name, "pairs": len(pairs), "alone": alone, "share": f"{alone / len(pairs):.4f}"}
        )
    append_rows("single_market_pairs", rows)


if __name__ == "__main__":
    main()
