"""What a ranker's statistics give away to somebody who knows one item of a user.

    python benchmarks/known_item.py DATA_DIR [--counts 1,2,3,5]

The statistics of one market, as they leave it, are read by somebody who knows that a user had item i and nothing else.
Where as many users have the pair (i, j) as have i, the user had j for sure; the same with when: on one day, within so
many days. Rows of benchmarks/results/known_item.csv: shares of all (user, known item) of train histories under `family`
(or `temporal` where there are no families) by which another item is learned for sure, and when it was bought; and how
many items are learned in the mean. And shares of the told pairs of two items, and of the items with a told month, of
which exactly one user is left over when everything that is told of their gaps, or months, is taken away. No statistic
is joined with another market's, and nobody's guess is counted.
"""

import argparse
import itertools
from pathlib import Path

from results import append_rows, read_rows, say_complete

from fedrec.attacks.known_item import given_away, left_over
from fedrec.data.store import open_stores
from fedrec.recipe import load_recipe
from fedrec.training.prepared import PreparedMarket
from fedrec.training.ranker.sources import market_statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--counts", default="1,2,3,5")
    options = parser.parse_args()
    if read_rows("known_item"):
        say_complete("known_item")
        return
    stores = open_stores(options.data)
    protocol = "family" if all(store.families is not None for store in stores) else "temporal"
    recipe = load_recipe("ranker", [f"evaluation.protocol={protocol}"])
    for count, store in itertools.product(options.counts.split(","), stores):
        train = PreparedMarket(store, recipe).train
        told = market_statistics(train, int(count))
        away, left = given_away(told), left_over(told)
        of_history = train.items  # every interaction is an item that might be known
        row = {
            "min_count": count,
            "market": store.name,
            "interactions": str(len(of_history)),
            "item_learned": f"{away.item[of_history].mean():.4f}",
            "time_learned": f"{away.time[of_history].mean():.4f}",
            "items_learned": f"{away.items[of_history].mean():.3f}",
            "pairs": str(len(left.pairs)),
            "pairs_of_one": f"{(left.pairs == 1).mean():.4f}" if len(left.pairs) else "",
            "months_of_one": f"{(left.months == 1).mean():.4f}" if len(left.months) else "",
        }
        append_rows("known_item", [row])
        print(row, flush=True)


if __name__ == "__main__":
    main()
