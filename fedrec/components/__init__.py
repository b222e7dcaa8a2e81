"""What others can add to fedrec: the nouns, their protocols, and where names are looked up (docs/how-to/extend.md).

A plugin needs nothing else of fedrec than this package.
"""

from typing import TYPE_CHECKING, Any

from fedrec.components.aggregator import Aggregator, LocalTerm, Update, weighted_average
from fedrec.components.algorithm import Algorithm, Need, Step
from fedrec.components.attack import Attack, Finding, Observed
from fedrec.components.capability import Capability
from fedrec.components.importer import Importer
from fedrec.components.metric import Metric, Ranked
from fedrec.components.registry import Component, components, find, nouns, register
from fedrec.components.section import ComponentSettings, without_keys
from fedrec.components.tracker import Tracker

if TYPE_CHECKING:
    from fedrec.algorithms.pointwise import PointwiseAlgorithm, PointwiseSettings
    from fedrec.components.encoder import Encoder, EncoderSizes
    from fedrec.components.loss import Alike, Items, Loss, LossSettings
    from fedrec.components.stage import Memory, Place, UpdateStage
    from fedrec.exchange.groups import ParameterGroups
    from fedrec.models.federated import FederatedModel
    from fedrec.models.pointwise.interface import FederatedPointwise, Request, Sizes
    from fedrec.semantics.base import CountedSettings, ItemEvidence, Semantics, SemanticsSettings
    from fedrec.semantics.counted import CountedSemantics

__all__ = [
    "Aggregator",
    "Algorithm",
    "Alike",
    "Attack",
    "Capability",
    "Component",
    "ComponentSettings",
    "CountedSemantics",
    "CountedSettings",
    "Encoder",
    "EncoderSizes",
    "FederatedModel",
    "FederatedPointwise",
    "Finding",
    "Importer",
    "ItemEvidence",
    "Items",
    "LocalTerm",
    "Loss",
    "LossSettings",
    "Memory",
    "Metric",
    "Need",
    "Observed",
    "ParameterGroups",
    "Place",
    "PointwiseAlgorithm",
    "PointwiseSettings",
    "Ranked",
    "Request",
    "Semantics",
    "SemanticsSettings",
    "Sizes",
    "Step",
    "Tracker",
    "Update",
    "UpdateStage",
    "components",
    "find",
    "nouns",
    "register",
    "weighted_average",
    "without_keys",
]

_LAZY = {  # import torch, or what travels
    **dict.fromkeys(("Memory", "Place", "UpdateStage"), "fedrec.components.stage"),
    **dict.fromkeys(("CountedSettings", "ItemEvidence", "Semantics", "SemanticsSettings"), "fedrec.semantics.base"),
    "CountedSemantics": "fedrec.semantics.counted",
    **dict.fromkeys(("PointwiseAlgorithm", "PointwiseSettings"), "fedrec.algorithms.pointwise"),
    **dict.fromkeys(("FederatedPointwise", "Request", "Sizes"), "fedrec.models.pointwise.interface"),
    "FederatedModel": "fedrec.models.federated",
    "ParameterGroups": "fedrec.exchange.groups",
    **dict.fromkeys(("Encoder", "EncoderSizes"), "fedrec.components.encoder"),
    **dict.fromkeys(("Alike", "Items", "Loss", "LossSettings"), "fedrec.components.loss"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
