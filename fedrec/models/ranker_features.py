"""The names of a ranker's features: what a market computes of a candidate, and so how wide the shared model is.

``WEIGHTED``: an item-item model of the statistics, and how the history it is applied to is weighted. ``COUNTED``: users
of the candidate in the days up to the user's last one. Each is computed of the market's own statistics, and once more
of its own and the other markets' together.
"""

from collections.abc import Collection
from typing import Literal, get_args

OWN, SUMMED = "own", "summed"
MODEL = "model.score"
WEIGHTED = (
    ("ease", "all"), ("ease", "recent"), ("ease", "position"), ("cosine", "recent"), ("cosine_decayed", "recent"),
    ("conditional", "recent"), ("conditional", "last"), ("following", "recent"), ("following", "position"),
    ("next", "last"), ("next", "position"), ("same_day", "day"),
)  # fmt: skip
LARGEST = "cosine.largest"
COUNTED = ("count_0", "count_7", "count_30", "count_90", "count_365", "count_past", "age", "since", "popularity")
USER_FEATURES = ("length", "last_day_share", "last_day")

Group = Literal["ease", "cosine", "conditional", "following", "next", "same_day", "sales"]
GROUPS: tuple[Group, ...] = get_args(Group)
_OF_A_SOURCE = (*(f"{model}.{weight}" for model, weight in WEIGHTED), LARGEST, *COUNTED)


def feature_names(summed: bool, left_out: Collection[str] = (), modelled: bool = False) -> tuple[str, ...]:
    """In the order of a model's inputs; ``left_out``: of ``GROUPS``; ``modelled``: the score of another model too.

    >>> feature_names(summed=False, left_out={"ease", "cosine", "conditional", "following", "next", "sales"})
    ('own.same_day.day',)
    """
    kept = [name for name in _OF_A_SOURCE if group_of(name) not in left_out]
    counted = (f"{source}.{name}" for source in ((OWN, SUMMED) if summed else (OWN,)) for name in kept)
    return (*counted, *((MODEL,) if modelled else ()))


def group_of(name: str) -> Group:
    """The group of a feature, its source left off."""
    if name in COUNTED:
        return "sales"
    return next(group for group in GROUPS if name.startswith(group))
