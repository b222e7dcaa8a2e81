"""A run that begins with the shared model of an earlier one: new data, new items, new markets.

A copy of the earlier model lies in the run's folder, so that the run can be taken up again wherever the earlier one is.
"""

import shutil
from pathlib import Path

from fedrec.components.algorithm import Step, algorithm_of, goes_with
from fedrec.components.capability import Capability
from fedrec.errors import UserError
from fedrec.recipe import Recipe
from fedrec.runs.folder import RunFolder
from fedrec.runs.manifest import changes
from fedrec.runs.shared import SharedModel, export_files, read_shared_model, shared_folder

_AUTO = "auto"


def keep_warm_start(run: RunFolder, source: Path, recipe: Recipe) -> None:
    """Copy the shared model of ``source`` (a finished run, or a copy of its ``shared``) into a new run's folder.

    Raises :class:`UserError` where there is none, and where ``recipe`` cannot begin with it.
    """
    folder = shared_folder(source)
    reason = why_not_warm(read_shared_model(folder), recipe)
    if reason is not None:
        raise UserError(f"--warm-start {source}: {reason}")
    run.warm_start.mkdir()
    for path in export_files(folder):
        shutil.copyfile(path, run.warm_start / path.name)


def read_warm_start(run: RunFolder) -> SharedModel | None:
    """The model that a run begins with; None where that is the untrained one."""
    return read_shared_model(run.warm_start) if run.warm_start.is_dir() else None


def why_not_warm(model: SharedModel, recipe: Recipe) -> str | None:
    """Why a run of ``recipe`` cannot begin with ``model``; None where it can. An ``auto`` is compared once it is known.

    Under masks a market computes the model of round one itself, so that nobody can hand it one made to spy on it.
    A private run may begin with a private one alone: its epsilon would speak of half of what its model has seen.
    """
    for kind in (recipe.algorithm.kind, model.recipe.algorithm.kind):
        if not goes_with(kind, Capability.OTHER_MARKETS):
            return (
                f"the model of algorithm.kind {kind!r} knows the items of its own federation alone; one that goes with "
                "other markets, such as fecosr, can be begun with (`fedrec components algorithm`)"
            )
    if Step.REFIT in algorithm_of(recipe).plan():
        return (
            f"algorithm.kind {recipe.algorithm.kind!r} ends with rounds on validation users, by whom nothing could be "
            "chosen any more; begin anew, which takes minutes"
        )
    if "federated" not in recipe.evaluation.methods:
        return "evaluation.methods has no federated; nothing else begins with a shared model"
    if recipe.masks.enabled:
        return "masks.enabled=true has every market begin with the model that it can make itself; leave one of them out"
    for section in ("privacy", "market_privacy"):
        if getattr(recipe, section).on and not getattr(model.recipe, section).on:
            return (
                f"it was trained without {section}, so no epsilon would hold for what comes of it; train it privately"
            )
    if recipe.seed != model.recipe.seed:
        return f"seed is {recipe.seed}, it was trained with {model.recipe.seed}; use the same"
    for section in ("algorithm", "model", "encoder", "semantics"):
        old, new = (getattr(one, section).model_dump(mode="json") for one in (model.recipe, recipe))
        for key, was, now in changes(old, new, section):
            if now != _AUTO:
                return f"{key} is {now!r}, it was trained with {was!r}; use the same"
    return None
