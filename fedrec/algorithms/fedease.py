"""Federated EASE: item-item counts are summed over the markets once, and no model is trained in rounds.

What a market makes of the sum: :mod:`fedrec.clients.methods`. As a baseline beside another algorithm's model it is the
method ``fedease`` of ``evaluation.methods``; this algorithm is for runs of nothing else.
"""

from typing import TYPE_CHECKING, Any

from fedrec.components.algorithm import Algorithm
from fedrec.components.capability import Capability
from fedrec.components.section import without_keys

if TYPE_CHECKING:
    from fedrec.models.federated import FederatedModel


class Fedease(Algorithm):
    """Its keys are those of section ``fedease``, which other algorithms' runs have too."""

    Settings = without_keys("fedease")
    capabilities = frozenset({Capability.USER_PRIVACY, Capability.AUDIT})
    reads = frozenset()
    methods = frozenset({"popularity", "itemknn", "ease", "fedease"})

    @classmethod
    def model(cls) -> "type[FederatedModel]":
        """One without parameters: no update leaves."""
        from fedrec.exchange.groups import NOTHING
        from fedrec.models.federated import FederatedModel

        class NoModel(FederatedModel):
            groups = NOTHING

        return NoModel

    @classmethod
    def trainer(cls) -> type[Any]:
        """Never built: no method of this algorithm trains a model."""
        from fedrec.training.stages import LocalTrainer

        return LocalTrainer
