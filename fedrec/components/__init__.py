"""What others can add to fedrec: the nouns, their protocols, and where names are looked up (docs/how-to/extend.md).

A plugin needs nothing else of fedrec than this package.
"""

from typing import TYPE_CHECKING, Any

from fedrec.components.registry import Component, components, find, nouns, register
from fedrec.components.section import ComponentSettings

if TYPE_CHECKING:
    from fedrec.components.encoder import Capability, Encoder, EncoderSizes

__all__ = [
    "Capability",
    "Component",
    "ComponentSettings",
    "Encoder",
    "EncoderSizes",
    "components",
    "find",
    "nouns",
    "register",
]

_LAZY = dict.fromkeys(("Capability", "Encoder", "EncoderSizes"), "fedrec.components.encoder")  # import torch


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
