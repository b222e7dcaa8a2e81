"""Keys that had another name in the version before: still read, and said.

Each old key has a rule: what its value is called today. A key of today beside it counts.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedrec.errors import UserError
from fedrec.words import cleaned

Values = Mapping[str, Any]
Rule = Callable[[Any, Any], dict[str, Any]]  # value, the algorithm's name -> today's dotted keys and their values
ALGORITHM = "algorithm.kind"
_ALGORITHM_KEYS = ("model.kind", "task", "model.items")  # until November 2026, together

_EARLIER_PRIVACY = frozenset(
    {"epsilon", "noise_multiplier", "delta", "accountant", "clip_norm", "batch_size", "trains", "pairs_share"}
)
_RECIPES = {"floors": "baselines"}
_OPTIMISERS = {"none": "mean", "adam": "fedadam", "yogi": "fedyogi"}


def has_moved(key: str) -> bool:
    """Whether a dotted key is called otherwise today."""
    return key in _RULES


def moved(key: str, value: Any, algorithm: Any) -> dict[str, Any]:
    """What a dotted key and its value are called now, in a recipe of ``algorithm``; themselves where nothing moved."""
    rule = _RULES.get(key)
    return {key: value} if rule is None else rule(value, algorithm)


def how_it_moved(key: str, now: Mapping[str, Any]) -> str:
    """What is said of an old name."""
    names = " and ".join(
        f"{name}={cleaned(value, 80)}" if isinstance(value, str) else name for name, value in now.items()
    )
    return f"{key} is called {names} now; the old name goes with the next version"


def recipe_called(name: str) -> str:
    """What a shipped recipe is called today; a renamed one is said."""
    now = _RECIPES.get(name, name)
    if now != name:
        said = f"recipe {name} is called {now} now; the old name goes with the next version"
        warnings.warn(said, FutureWarning, stacklevel=3)
    return now


def algorithm_in(values: Values, changes: Sequence[tuple[str, Any]] = ()) -> Any:
    """The name of the algorithm of a recipe of ``values``, with dotted keys changed, by today's name or the old ones.

    Raises :class:`UserError` where old names say two algorithms.
    """
    there = [(key, found[0]) for key in (*_ALGORITHM_KEYS, ALGORITHM) if (found := _at(values, key))]
    return _algorithm_of(_algorithm_of("fecosr", there), changes)


def as_it_was(values: Values) -> Values:
    """A whole recipe of a version that took every list of items for public: it says so now.

    A run's own recipe has all keys of its sections; one that somebody wrote has few.
    """
    section = values.get("privacy")
    if not isinstance(section, Mapping) or "catalogue" in section or not section.keys() >= _EARLIER_PRIVACY:
        return values
    return {**values, "privacy": {**section, "catalogue": "occurring"}}


def with_moved_keys(values: Values, algorithm: Any = None) -> tuple[dict[str, Any], list[str]]:
    """``values`` under today's names, and what is to be said of each that had another. A new name beside it counts.

    ``algorithm``: that which the recipe will have, where more than ``values`` decides it. Raises :class:`UserError` for
    what cannot be said any more.
    """
    result: dict[str, Any] = dict(values)
    algorithm = algorithm_in(values) if algorithm is None else algorithm
    old = {key: found[0] for key in _RULES if (found := _at(values, key))}
    _refuse_both(old)
    said = []
    for key, value in old.items():
        now = {} if _did_nothing(key, old, algorithm) else moved(key, value, algorithm)
        if all(isinstance(result.get(name.partition(".")[0], {}), Mapping) for name in now):
            result = _without(result, key)
            for name, new in now.items():
                section, _, last = name.partition(".")
                result[section] = {last: new, **result.get(section, {})}
            said += [how_it_moved(key, now)] if now else []
    if result.get("acmr") == {}:
        del result["acmr"]
    return result, said


def _algorithm_of(before: Any, named: Sequence[tuple[str, Any]]) -> Any:
    """What keys that are read together make of an algorithm; today's name counts beside old ones."""
    new = [value for key, value in named if key == ALGORITHM]
    if new:
        return new[-1]
    algorithm = before
    for old in _ALGORITHM_KEYS:
        for _, value in (one for one in named if one[0] == old):
            algorithm = _by_old_name(algorithm, old, value)
    return algorithm


def _by_old_name(before: Any, key: str, value: Any) -> Any:
    """The algorithm after an old key, which said a third of what it is; what it never could say stays as it is."""
    if key == "model.kind" and value in ("fecosr", "acmr"):
        if value == "fecosr":
            return "fecosr" if before == "acmr" else before
        if before not in ("fecosr", "acmr"):
            raise UserError(
                f"model.kind acmr beside algorithm {cleaned(str(before), 60)!r}: name one in algorithm.kind"
            )
        return "acmr"
    if (key, value) in (("task", "ctr"), ("model.items", "codes")):
        if before == "acmr":
            raise UserError(f"{key} {value} beside algorithm 'acmr': name one in algorithm.kind")
        return "fedmm" if key == "task" or before == "fedmm" else "codes"
    if (key, value) == ("task", "sequential"):
        return "fecosr" if before == "fedmm" else before
    if (key, value) == ("model.items", "semantics"):
        return "fecosr" if before == "codes" else before
    return value


def _of_model(name: str) -> Rule:
    """Until November 2026 of section model; now of the encoder, or of ACMR."""
    return lambda value, algorithm: {f"{'algorithm' if algorithm == 'acmr' else 'encoder'}.{name}": value}


def _named(name: str) -> Rule:
    return lambda value, algorithm: {name: value}


def _optimiser(value: Any) -> Any:
    return _OPTIMISERS.get(value, value) if isinstance(value, str) else value


def _attention(value: Any) -> Any:
    return "history" if value == "apart" else value


_OPTIMISER_KEYS = ("learning_rate", "beta_1", "beta_2", "tau")
_ACMR_KEYS = ("layers", "heads", "market_embedding", "negatives")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ALGORITHM_KEYS, lambda value, algorithm: {ALGORITHM: algorithm}),
    **{f"acmr.{name}": _named(f"algorithm.{name}") for name in _ACMR_KEYS},
    **dict.fromkeys(
        ("acmr.reading", "algorithm.reading"), lambda value, algorithm: {"algorithm.attention": _attention(value)}
    ),
    "codes.least_count": _named("codes.min_count"),
    "model.layers": _of_model("layers"),
    "model.heads": _of_model("heads"),
    # until November 2026 of section federation; now components
    "federation.aggregation": _named("aggregator.kind"),
    "federation.trim": _named("aggregator.trim"),
    "federation.optimiser.kind": lambda value, algorithm: {"aggregator.kind": _optimiser(value)},
    **{f"federation.optimiser.{name}": _named(f"aggregator.{name}") for name in _OPTIMISER_KEYS},
}


def _refuse_both(old: Mapping[str, Any]) -> None:
    aggregation, optimiser = (old.get(key) for key in ("federation.aggregation", "federation.optimiser.kind"))
    if aggregation not in (None, "mean") and optimiser not in (None, "none"):
        raise UserError(
            f"federation.aggregation {aggregation!r} and federation.optimiser.kind {optimiser!r}: one aggregator makes "
            "the next model now; name it in aggregator.kind"
        )


def _did_nothing(key: str, old: Mapping[str, Any], algorithm: Any) -> bool:
    """Whether an old key was of something that the same recipe had not chosen."""
    if key.startswith("acmr."):
        return bool(algorithm != "acmr")
    optimiser, aggregation = old.get("federation.optimiser.kind", "none"), old.get("federation.aggregation", "mean")
    if key == "federation.trim":
        return bool(aggregation != "trimmed_mean")
    if key == "federation.aggregation":
        return bool(aggregation == "mean" and optimiser != "none")
    if key.startswith("federation.optimiser."):
        return bool(optimiser == "none")
    return False


def _at(values: Values, key: str) -> list[Any]:
    """The value of a dotted key; empty where there is none."""
    found: Any = values
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return []
        found = found[name]
    return [found]


def _without(values: Values, key: str) -> dict[str, Any]:
    """A copy without a dotted key, and without the section that is empty then."""
    name, _, rest = key.partition(".")
    if not rest:
        return {other: value for other, value in values.items() if other != name}
    inner = _without(values[name], rest)
    return {**values, name: inner} if inner else {other: value for other, value in values.items() if other != name}
