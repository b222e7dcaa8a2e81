"""What else might help the FeCoSR-style model: moments kept over rounds, identities shared by key, other settings.

    python benchmarks/neural_helpers.py XMARKET_DIR [--seed 0] [--only NAME,...]

One run under `family` for each; server momentum and the other aggregators are in aggregators.csv. Two helpers are no
part of the software and are tried here alone: `moments kept` goes on with each market's Adam moments from round to
round, `identities shared` knows an item by a vector of its own in place of its semantics, whose rows all markets that
sell it train together. Rows of benchmarks/results/neural_helpers.csv: the best mean validation over rounds, which
chooses, NDCG@10 of the test and seconds. A helper that has its row is skipped.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import results
import torch
from results import append_rows, measured, say_complete

from fedrec.algorithms.fecosr import Fecosr
from fedrec.data.store import open_stores
from fedrec.models.adaptor import ItemCodes
from fedrec.recipe import load_recipe
from fedrec.simulation.run import prepare_simulation
from fedrec.training import stages
from fedrec.training.prepared import PreparedMarket
from fedrec.training.sequential import SequentialTrainer

NAME = ("helper", "seed")
METHODS = ("federated_without_prior", "federated", "local_without_prior", "local")
BASE = ("evaluation.protocol=family", "evaluation.methods=[federated, local]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", help="names, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = options.only.split(",") if options.only else list(HELPERS)
    wanted = [name for name in chosen if (name, options.seed) not in measured("neural_helpers", *NAME)]
    if not wanted:
        say_complete("neural_helpers")
    for name in wanted:
        row = measure(name, options.data, options.seed)
        print(row, flush=True)
        append_rows("neural_helpers", [row], NAME)


def measure(name: str, data: Path, seed: str) -> dict[str, str]:
    """One run."""
    overrides, helping = HELPERS[name]
    recipe = load_recipe("fecosr", [*BASE, f"seed={seed}", *overrides])
    out = results.WORK / "neural_helpers" / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    with helping(data):
        summary = prepare_simulation(recipe, data, out).start()
    said = [one["validation_before"] for one in summary["rounds"] if one["validation_before"] is not None]
    events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    said += [one["validation"] for one in events if one["event"] == "validated" and one["validation"] is not None]
    means = {
        method: fmean(market["results"][method]["ndcg@10"] for market in summary["markets"].values())
        for method in METHODS
    }
    shutil.rmtree(out)
    return {
        "helper": name,
        "seed": seed,
        "validation": f"{max(said):.6f}",
        "best_round": str(summary["best_round"]),
        **{method: f"{value:.6f}" for method, value in means.items()},
        "seconds": str(round(summary["seconds"]["total"])),
    }


@contextmanager
def moments_kept(data: Path) -> Iterator[None]:
    """A market's optimiser of the rounds goes on where it stopped; the local baseline's does too."""
    make, kept = stages.make_optimiser, {}

    def going_on(model: Any, training: Any, rate: float) -> Any:
        trained = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        if (id(model), trained) not in kept:
            kept[id(model), trained] = (model, make(model, training, rate))  # with the model: its id stays its own
        _, optimiser = kept[id(model), trained]
        for group in optimiser.param_groups:
            group["lr"] = rate
        return optimiser

    with patch.object(stages, "make_optimiser", going_on):
        yield


@contextmanager
def identities_shared(data: Path) -> Iterator[None]:
    """Every item of any market is a code of its own, which all markets share; a market has rows of its items alone."""
    recipe = load_recipe("fecosr", BASE)
    catalogues = [PreparedMarket(store, recipe).items for store in open_stores(data)]
    place = {key: row for row, key in enumerate(sorted({key for keys in catalogues for key in keys}))}
    on = SequentialTrainer.on.__func__  # type: ignore[attr-defined]

    def codes_of(rows: list[int]) -> ItemCodes:
        nothing = torch.zeros(len(rows), 0, dtype=torch.int64)
        return ItemCodes(torch.tensor(rows, dtype=torch.int64)[:, None], (len(place),), nothing, ())

    def with_identities(cls: Any, recipe: Any, market: Any, semantics: Any, codes: Any = None) -> Any:
        return on(cls, recipe, market, semantics, codes_of([place[key] for key in market.items]))

    with (
        patch.object(Fecosr, "_codes", lambda self: codes_of([])),
        patch.object(SequentialTrainer, "on", classmethod(with_identities)),
    ):
        yield


def nothing_else(data: Path) -> Any:
    """The software as it is."""
    return nullcontext()


HELPERS: dict[str, tuple[tuple[str, ...], Callable[[Path], Any]]] = {
    "as it is": ((), nothing_else),
    "moments kept": ((), moments_kept),
    "identities shared": ((), identities_shared),
    "half the learning rate": (("training.learning_rate=0.001",), nothing_else),
    "twice the learning rate": (("training.learning_rate=0.004",), nothing_else),
    "two epochs a round": (("training.epochs=2",), nothing_else),
    "dropout 0.4": (("model.dropout=0.4",), nothing_else),
    "a falling rate": (("training.schedule=linear",), nothing_else),
}


if __name__ == "__main__":
    main()
