"""One step of the recipe's aggregator: the server takes it, and under masks every market takes it again."""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np

from fedrec.components.aggregator import Aggregator, Update
from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings
from fedrec.errors import ComponentError, UserError, place_of
from fedrec.exchange.payload import Array

_AGGREGATOR = "aggregator."


def apply_aggregator(
    settings: ComponentSettings, current: Mapping[str, Array], updates: Sequence[Update], state: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """A step of the recipe's aggregator, and its state after it, under names that no other state has.

    Raises :class:`ComponentError` where it fails, and :class:`UserError` where what it gives back are no parameters of
    this model.
    """
    aggregator = find("aggregator", settings.kind)(settings)
    before = _fixed({name.removeprefix(_AGGREGATOR): array for name, array in aggregator_state(state).items()})
    given = [update._replace(arrays=_fixed(update.arrays)) for update in updates]
    if type(aggregator).apply is Aggregator.apply:
        raise ComponentError(f"aggregator {settings.kind!r} has no method apply")
    try:
        returned = aggregator.apply(_fixed(current), given, before or aggregator.init())
    except Exception as error:  # of code that may be anybody's
        what = f"{type(error).__name__}: {error} ({place_of(error, inspect.getfile(type(aggregator)))})"
        raise ComponentError(f"aggregator {settings.kind!r} failed: {what}") from error
    if not isinstance(returned, tuple) or len(returned) != 2 or not all(isinstance(one, Mapping) for one in returned):
        raise ComponentError(f"aggregator {settings.kind!r}: apply returns two mappings, the arrays and the state")
    result, after = returned
    for name in sorted({*current, *result}):
        if name not in result or name not in current:
            raise UserError(f"aggregator {settings.kind!r}: {name}: missing or unknown in what it returned")
        array, wanted = result[name], current[name]
        if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
            came = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise UserError(f"aggregator {settings.kind!r}: {name}: {came}, not {wanted.dtype} of shape {wanted.shape}")
        if not np.isfinite(array).all():
            raise UserError(f"aggregator {settings.kind!r}: {name}: not finite")
    for name, value in after.items():
        if np.asarray(value).dtype.kind not in "biuf":
            raise UserError(f"aggregator {settings.kind!r}: its state {name!r} is no array of numbers")
    return dict(result), {_AGGREGATOR + name: np.asarray(array) for name, array in after.items()}


def _fixed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The same arrays, which nobody can change through these names: the round's other figures are made of them."""
    result = {name: np.asarray(array).view() for name, array in arrays.items()}
    for array in result.values():
        array.flags.writeable = False
    return result


def aggregator_state(state: Mapping[str, Array]) -> dict[str, Array]:
    """That of a server's state which :func:`apply_aggregator` made."""
    return {name: array for name, array in state.items() if name.startswith(_AGGREGATOR)}
