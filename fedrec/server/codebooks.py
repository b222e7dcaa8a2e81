"""The coordinator's side of codes: the first common codebook, its rounds, and what is kept of them."""

import numpy as np
import torch
from flwr.serverapp import Grid

from fedrec.exchange.codebook import LEVEL
from fedrec.exchange.declaration import CODEBOOK
from fedrec.exchange.payload import Array
from fedrec.models.rqvae import build_rqvae, first_codebooks
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.shared import SharedItems
from fedrec.server.federation import Federation
from fedrec.server.rounds import Rounds, Schedule, run_rounds
from fedrec.strategies.codebook_average import CodebookAverage

STAGE = "codebook"


def codebook_rounds(grid: Grid, federation: Federation, run: RunFolder, items: SharedItems | None) -> Rounds:
    """Rounds of counts and sums; all of them, for there is nothing to overfit. ``items``: what the federation knows."""
    recipe = federation.recipe
    strategy = CodebookAverage(federation.node_of, recipe, federation.largest_weights(CODEBOOK))
    rounds = recipe.codes.rounds
    schedule = Schedule(STAGE, rounds, patience=rounds + 1, validated=recipe.validated)
    return run_rounds(grid, federation, strategy, first_arrays(recipe, items), run, schedule)


def first_arrays(recipe: Recipe, items: SharedItems | None) -> dict[str, Array]:
    """What the first round starts from: the untrained encoder and codebooks, the same for every market.

    Under ``gram`` the server has the items' factors, and the codebooks start by k-means on them.
    """
    width = recipe.semantics.dimension
    model = build_rqvae(recipe.codes, recipe.alignment, width, recipe.collaborative.dimension, recipe.seed)
    common = None
    if recipe.alignment == "gram" and items is not None:
        vectors = items.vectors[items.vectors.any(axis=1)].astype(np.float64)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        common = torch.from_numpy((unit * width**0.5).astype(np.float32)) if len(unit) else None
    arrays: dict[str, Array] = {name: value.numpy() for name, value in model.shared_state().items()}
    codebooks = first_codebooks(model, common, recipe.seed)
    return arrays | {f"{LEVEL}{level}": codebook for level, codebook in enumerate(codebooks)}
