"""``fedrec adapt``: a finished run's shared model for a market that never took part.

It is a run without rounds: every market of the new data folder takes the shared parameters, and the vectors of those of
its items that the federation knows, and fine-tunes them for itself. Nothing goes back to the federation.
"""

from collections.abc import Sequence
from pathlib import Path

from fedrec.components.algorithm import goes_with
from fedrec.components.capability import Capability
from fedrec.errors import UserError
from fedrec.recipe import Recipe, override_recipe
from fedrec.runs.shared import SharedModel, read_shared_model, shared_folder
from fedrec.simulation.run import Simulation, prepare_simulation

_METHODS = ("federated", "local", "popularity", "itemknn", "ease")  # what one market can answer without the others


def prepare_adaptation(source: Path, data: Path, out: Path, overrides: Sequence[str] = ()) -> Simulation:
    """Check and prepare; ``source`` is a finished run, or a copy of its ``shared`` folder.

    Raises :class:`UserError` for a source without a shared model, and for overrides that do not fit its parameters.
    """
    folder = shared_folder(source)
    model = read_shared_model(folder)
    for kind in model.recipe.algorithms.values():
        if not goes_with(kind, Capability.OTHER_MARKETS):
            raise UserError(
                f"{source}: the model of algorithm {kind!r} knows the items of its own federation alone; adapt needs "
                "one that goes with other markets, such as fecosr (`fedrec components algorithm`)"
            )
    recipe = adaptation_recipe(model, overrides)
    made_with = ("seed", "algorithm", "model", "encoder", "semantics", "loss")
    for key in made_with:  # the seed decides projections of texts and unknown items
        if getattr(recipe, key) != getattr(model.recipe, key):
            raise UserError(f"--set {key}: the shared model of {source} was made with other values; leave them")
    if recipe.scores.kind != model.recipe.scores.kind:
        raise UserError(f"--set scores.kind: the ranker of {source} was trained on other scores; leave it")
    if model.statistics is not None:  # counted on the train rows of the federation's own protocol
        for key in ("protocol", "cut_date", "holdout", "ties"):
            old, new = (getattr(one.evaluation, key) for one in (model.recipe, recipe))
            if old != new:
                raise UserError(
                    f"--set evaluation.{key}: the statistics of {source} were counted under {old}; leave it"
                )
    return prepare_simulation(recipe, data, out, folder)


def adaptation_recipe(model: SharedModel, overrides: Sequence[str]) -> Recipe:
    """The recipe the shared model was made with, for markets of another folder, on one machine."""
    methods = [name for name in model.recipe.evaluation.methods if name in _METHODS]
    fresh: dict[str, dict[str, object]] = {
        "data": {"markets": None, "user_share": 1.0},
        "engine": {"kind": "inline", "workers": 0},
        "federation": {"deadline_seconds": None, "stage_deadline_seconds": None},  # nobody is waited for
        "prior": {"federated": False},
    }
    recipe = override_recipe(model.recipe, {**fresh, "evaluation": {"methods": methods}}, overrides)
    if "federated" not in recipe.evaluation.methods or not set(recipe.evaluation.methods) <= set(_METHODS):
        raise UserError(
            f"evaluation.methods {recipe.evaluation.methods}: adapt needs federated, and knows {', '.join(_METHODS)}"
        )
    return recipe
