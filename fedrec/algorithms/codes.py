"""Algorithms on FedMM-style codes: a codebook that all markets make together, then sequences or clicks on it."""

from typing import TYPE_CHECKING

from fedrec.algorithms.fecosr import Fecosr, encoder_objection
from fedrec.components.algorithm import Algorithm, Need, Step
from fedrec.components.capability import Capability
from fedrec.components.section import without_keys

if TYPE_CHECKING:
    from fedrec.models.adaptor import ItemCodes
    from fedrec.models.federated import FederatedModel

_CONTROLS = frozenset({"nocodes", "randomcodes"})


class Codes(Fecosr):
    """The sequential model with items known by their codes; the embeddings of the common level's codes are shared."""

    Settings = without_keys("codes")
    needs = frozenset({Need.ITEM_VECTORS, Need.CODES})
    capabilities = frozenset({Capability.USER_PRIVACY, Capability.AUDIT})
    methods = Algorithm.methods | _CONTROLS

    def _codes(self) -> "ItemCodes":
        import torch

        from fedrec.models.adaptor import ItemCodes

        nothing, codes = torch.zeros(0, 0, dtype=torch.int64), self.recipe.codes
        return ItemCodes(nothing, tuple(codes.global_levels), nothing, tuple(codes.local_levels))

    def plan(self) -> tuple[Step, ...]:
        """Codes before the rounds."""
        return (Step.CODES, *super().plan())

    def objection(self) -> str | None:
        """Without a common level nothing would be shared."""
        if not self.recipe.codes.global_levels:
            return "codes.global_levels is empty: algorithm 'codes' shares the embeddings of its codes; give it one"
        return super().objection()


class Fedmm(Algorithm):
    """FedMM-style: click-through models of every market on codes of its items and users."""

    Settings = without_keys("fedmm")
    task = "ctr"
    needs = frozenset({Need.ITEM_VECTORS, Need.CODES})
    capabilities = frozenset({Capability.USER_PRIVACY, Capability.AUDIT})
    methods = frozenset({"federated", "local", "pooled"}) | _CONTROLS

    @classmethod
    def model(cls) -> "type[FederatedModel]":
        """The autoencoder of the codebook: the click-through models stay in their markets."""
        from fedrec.models.rqvae import RqVae

        return RqVae

    def plan(self) -> tuple[Step, ...]:
        """Codes, then clicks."""
        return (Step.CODES, Step.CLICKS)

    def objection(self) -> str | None:
        """The encoder's, where vectors are a sequential model's."""
        return encoder_objection(self.recipe) if self.recipe.collaborative.source == "sequential" else None
