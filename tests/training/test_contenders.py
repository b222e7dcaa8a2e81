"""What each method is mixed of."""

from typing import Any

from fedrec.recipe import load_recipe
from fedrec.training.report import Methods


def test_who_trains_alone_gets_nothing_of_the_others_counts() -> None:
    recipe = load_recipe("codes", ["prior.federated=true"])
    nothing: Any = None
    trainers = dict.fromkeys(
        ("federated", "pooled", "local", "local_shared_semantics", "nocodes", "randomcodes"), nothing
    )
    evaluation, prior = recipe.evaluation, recipe.prior
    mixes = Methods(evaluation, prior, nothing, mixed=True, trainers=trainers, shared=Any).mixes  # type: ignore[arg-type]
    assert {name for name, parts in mixes.items() if "shared" in parts} == {"federated", "pooled"}
    assert all(parts[-2:] == ("own", "popular") for parts in mixes.values())
