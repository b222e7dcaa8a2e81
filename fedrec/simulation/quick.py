"""Whether something runs at all: a recipe cut down to seconds, on three tiny markets. Its figures say nothing."""

from collections.abc import Sequence

from fedrec.data.synth import SynthSettings
from fedrec.recipe import Recipe, override_recipe

QUICK = (
    "federation.rounds=2",
    "training.epochs=1",
    "finetune.epochs=1",
    "scores.rounds=2",
    "scores.finetune_epochs=1",
    "model.dimension=16",
    "semantics.dimension=16",
    "ease.lambdas=[100]",
    "itemknn.neighbours=[20]",
    "itemknn.shrink=[0]",
    "fedease.lambdas=[100]",
    "collaborative.epochs=2",
    "codes.rounds=2",
    "codes.refine=1",
    "codes.epochs=1",
    "ctr.epochs=1",
    "evaluation.resamples=50",
)


def quickened(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe that was made with ``overrides``, as a quick run; a key that they name stays as it is.

    What the recipe does not do at all (0 epochs) is not begun.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    return override_recipe(
        recipe, {}, [one for one in QUICK if one.partition("=")[0] not in given and _is_done(recipe, one)]
    )


def _is_done(recipe: Recipe, override: str) -> bool:
    section, _, name = override.partition("=")[0].partition(".")
    value: object = getattr(getattr(recipe, section), name, None)
    return value != 0


def tiny_markets(seed: int) -> SynthSettings:
    """Some 150 users in all."""
    return SynthSettings(markets=("alfa", "bravo", "charlie"), users=60, items=80, topics=8, skew=0.7, seed=seed)
