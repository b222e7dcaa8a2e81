"""Markets that never took part, and markets that begin: leave one market out, train the others, adapt.

    python benchmarks/newcomers.py DATA_DIR [--markets jp,in] [--shares 0.05,0.2,1.0] [--seeds 0]
    python benchmarks/newcomers.py DATA_DIR --recipe ranker --shares 0.01,0.02,0.05,0.1,0.2,0.5,1.0
    python benchmarks/newcomers.py DATA_DIR --data retail --recipe codes --markets dach
    python benchmarks/newcomers.py DATA_DIR --recipe codes --inside --shares 0.02,0.05,0.1,0.2,0.5,1.0

For each market: a recipe on the others, then `fedrec adapt` for it with a share of its users known (the rest train
nothing and are only tested), the local baseline beside it. With `--inside` the market is in the federation from the
start, with that share of its users, beside all users of the others: a recipe of codes cannot be adapted to new items.
Rows of benchmarks/results/newcomers.csv (another recipe, or
data other than xmarket: newcomers_DATA_RECIPE.csv). A share that has its row is skipped; the run of the other markets
stays below benchmarks/work until all shares have theirs. A share that leaves nobody to learn from has no row, and the
script says so.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import results
from results import append_rows, measured, say_complete
from runs import Refused, finish, settings
from tables.newcomers import NOBODY

from fedrec.data.store import open_stores
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.training import prepared

METHODS = ("popularity", "ease", "nocodes", "local_without_prior", "local", "federated_without_prior", "federated")
NAME = ("market", "share", "seed")


@dataclass(frozen=True)
class Study:
    """A recipe on the markets of a data folder, and where its rows belong."""

    folder: Path
    table: str
    recipe: str
    overrides: Sequence[str]

    @property
    def methods(self) -> str:
        """What an adaptation evaluates."""
        return f"[federated,local,{'nocodes,' if self.recipe == 'codes' else ''}popularity,ease]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="xmarket", help="what the folder holds: names the rows")
    parser.add_argument("--recipe", default="fecosr")
    parser.add_argument("--markets", default="jp,in")
    parser.add_argument("--shares", default="0.05,0.2,1.0")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--inside", action="store_true", help="in the federation from the start")
    options = parser.parse_args()
    usual = (options.data, options.recipe) == ("xmarket", "fecosr")
    table = "newcomers" if usual else f"newcomers_{options.data}_{options.recipe}"
    study = Study(options.folder, table, options.recipe, options.overrides)
    done = measured(table, *NAME)
    complete = True
    for market in options.markets.split(","):
        for seed in options.seeds.split(","):
            shares = [share for share in options.shares.split(",") if (market, share, seed) not in done]
            if shares:
                complete = False
                (inside if options.inside else measure)(study, market, seed, shares)
    if complete:
        say_complete(table)


def measure(study: Study, market: str, seed: str, shares: list[str]) -> None:
    """One federation without the market, then an adaptation and a row for each share."""
    work = results.WORK / study.table / f"{market}-{seed}"
    others = ",".join(store.name for store in open_stores(study.folder) if store.name != market)
    alone = settings([f"data.markets=[{others}]", "evaluation.methods=[federated]", *study.overrides])
    finish(work / "others", "run", study.recipe, "--data", study.folder, "--seed", seed, *alone)
    for share in shares:
        changes = [f"data.markets=[{market}]", f"data.user_share={share}", f"evaluation.methods={study.methods}"]
        try:
            summary = finish(work / f"share-{share}", "adapt", work / "others", study.folder, *settings(changes))
        except Refused as refused:
            print(f"{market}, {share} of its users: {refused}", flush=True)
            append_rows(study.table, [{"market": market, "share": share, "seed": seed, "users": NOBODY}], NAME)
            continue
        record(study, summary, market, share, seed)
    shutil.rmtree(work)


def inside(study: Study, market: str, seed: str, shares: list[str]) -> None:
    """A federation of all markets and a row for each share of this one's users."""
    for share in shares:
        out = results.WORK / study.table / f"{market}-{seed}-{share}"
        shutil.rmtree(out, ignore_errors=True)
        recipe = load_recipe(study.recipe, [f"seed={seed}", f"evaluation.methods={study.methods}", *study.overrides])
        with known_of(market, float(share)):
            summary = prepare_simulation(recipe, study.folder, out).start()
        record(study, summary, market, share, seed)
        shutil.rmtree(out)


@contextmanager
def known_of(market: str, share: float) -> Iterator[None]:
    """What `data.user_share` is to all markets, to one of them; in this process alone."""
    split = prepared.split_market

    def narrowed(store: Any, settings: Any, seed: Any, vocabulary: Any, user_share: float, draws: Any) -> Any:
        return split(store, settings, seed, vocabulary, share if store.name == market else user_share, draws)

    with patch.object(prepared, "split_market", narrowed):
        yield


def record(study: Study, summary: dict[str, Any], market: str, share: str, seed: str) -> None:
    """The row of one market."""
    figures = summary["markets"][market]
    row = {"market": market, "share": share, "seed": seed, "users": figures["evaluated_users"]}
    found = figures["results"]
    row |= {method: f"{found[method]['ndcg@10']:.6f}" for method in METHODS if method in found}
    row |= {f"gain_{part}": f"{value:.6f}" for part, value in figures["gain"]["ndcg@10"].items()}
    print(row, flush=True)
    append_rows(study.table, [row], NAME)


if __name__ == "__main__":
    main()
