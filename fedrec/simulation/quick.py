"""Whether something runs at all: a recipe cut down to seconds, on three tiny markets. Its figures say nothing."""

from collections.abc import Sequence

from fedrec.data.synth import SynthSettings

QUICK = (
    "federation.rounds=2",
    "training.epochs=1",
    "finetune.epochs=1",
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


def quickened(overrides: Sequence[str]) -> list[str]:
    """These overrides behind what makes a run quick; a key that they name is theirs."""
    given = {override.partition("=")[0].strip() for override in overrides}
    return [*(one for one in QUICK if one.partition("=")[0] not in given), *overrides]


def tiny_markets(seed: int) -> SynthSettings:
    """Some 150 users in all."""
    return SynthSettings(markets=("alfa", "bravo", "charlie"), users=60, items=80, topics=8, skew=0.7, seed=seed)
