"""Federations on the same splits: whole runs of a recipe, whose figures are read from their folders."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fedrec.recipe import load_recipe, recipe_json
from fedrec.simulation.complete import complete
from fedrec.simulation.table3.ground import Figures, Ground, Ranks, Results


def federated(recipe: str, overrides: Sequence[str], methods: Mapping[str, str], ground: Ground) -> Results:
    """A federation on the same split. ``methods``: its own by the table's names.

    Its run folder lies in ``ground.unfinished`` until its rows are written: one that was interrupted goes on.
    """
    chosen = load_recipe(recipe, [*overrides, "evaluation.protocol=acmr", f"seed={ground.split}"])
    made_of = hashlib.sha256(recipe_json(chosen).encode()).hexdigest()[:8]
    run = ground.unfinished / f"{recipe}-{ground.split}-{made_of}"
    complete(chosen, ground.folder, run, ground.progress)
    found = {name: load_file(run / "markets" / name / "per_user.safetensors") for name in ground.targets}
    results: Results = {name: {} for name in methods}
    for name, method in methods.items():
        for market, arrays in found.items():
            results[name][market] = Figures(_ranks(arrays[f"{method}.mrr@20"]))
    return results


def _ranks(reciprocal: NDArray[np.float64]) -> Ranks:
    """Ranks from what is kept of them, 1 / (rank + 1) inside the first twenty; beyond those all are alike here."""
    with np.errstate(divide="ignore"):
        return np.where(reciprocal > 0, 1 / reciprocal - 1, np.inf)
