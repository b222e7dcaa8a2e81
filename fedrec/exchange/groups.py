"""Parameter groups: each model declares which of its parameters are shared and which are private.

This one declaration drives what is sent, what is aggregated, what is checkpointed where, and what the ledger permits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class ParameterGroups:
    """Prefixes of parameter names. Every parameter must match exactly one of them.

    >>> groups = ParameterGroups(shared=("encoder.",), private=("head.",))
    >>> groups.shared_names(["head.bias", "encoder.weight"])
    ['encoder.weight']
    >>> groups.shared_names(["adaptor.weight"])
    Traceback (most recent call last):
    ...
    ValueError: parameter 'adaptor.weight' is in 0 groups; declare it shared or private
    """

    shared: tuple[str, ...]
    private: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, prefixes in (("shared", self.shared), ("private", self.private)):
            if isinstance(prefixes, str):  # its letters would be prefixes, and let anything through
                raise TypeError(f"{name}={prefixes!r} is a text and no tuple of prefixes; write ({prefixes!r},)")

    def shared_names(self, names: Iterable[str]) -> list[str]:
        """The shared ones of ``names``, sorted; raises ``ValueError`` for a name in no group or in two."""
        result = []
        for name in names:
            matches = [prefix for prefix in (*self.shared, *self.private) if name.startswith(prefix)]
            if len(matches) != 1:
                raise ValueError(f"parameter {name!r} is in {len(matches)} groups; declare it shared or private")
            if matches[0] in self.shared:
                result.append(name)
        return sorted(result)

    def select_shared(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The shared entries of ``values``, by sorted name."""
        return {name: values[name] for name in self.shared_names(values)}


NOTHING = ParameterGroups((), ())  # of answers that hold no parameter
