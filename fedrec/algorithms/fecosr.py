"""FeCoSR-style: a causal sequential model over item vectors, its adaptor and encoder shared.

The model and what is reconstructed of the paper: :mod:`fedrec.models.sequential`.
"""

from typing import TYPE_CHECKING, Any

from fedrec.components.algorithm import Algorithm, Need
from fedrec.components.capability import Capability
from fedrec.components.registry import find
from fedrec.components.section import without_keys

if TYPE_CHECKING:
    from fedrec.models.adaptor import ItemCodes
    from fedrec.models.sequential import SequentialModel
    from fedrec.recipe import Recipe


class Fecosr(Algorithm):
    """Items are known by their vectors, so that the shared model means the same in every market."""

    Settings = without_keys("fecosr")
    needs = frozenset({Need.ITEM_VECTORS})
    capabilities = frozenset(
        {Capability.USER_PRIVACY, Capability.MARKET_PRIVACY, Capability.OTHER_MARKETS, Capability.AUDIT}
    )
    methods = Algorithm.methods | {"local_shared_semantics"}

    @classmethod
    def model(cls) -> "type[SequentialModel]":
        """With shared adaptor and encoder."""
        from fedrec.models.sequential import SequentialModel

        return SequentialModel

    @classmethod
    def trainer(cls) -> type[Any]:
        """The recipe's loss in rounds, hard targets in the market."""
        from fedrec.training.sequential import SequentialTrainer

        return SequentialTrainer

    def build(self, items: int) -> "SequentialModel":
        """Over nobody's items: private parameters have no rows."""
        import torch

        from fedrec.models.sequential import build_model

        recipe = self.recipe
        nothing = torch.zeros(0, recipe.semantics.dimension)
        return build_model(recipe.model, recipe.encoder, nothing, recipe.loss.tau, recipe.seed, self._codes())

    def _codes(self) -> "ItemCodes | None":
        """Sizes of the codes that items are known by; None where they are known by vectors."""
        return None

    def objection(self) -> str | None:
        """The encoder's own, and components that cannot keep users apart where the recipe needs it."""
        recipe, objection = self.recipe, encoder_objection(self.recipe)
        if objection is not None or not (recipe.privacy.on and recipe.federates):
            return objection
        for noun, kind in (("encoder", recipe.encoder.kind), ("loss", recipe.loss.kind)):
            if Capability.USER_PRIVACY not in find(noun, kind).capabilities:
                return (
                    f"{noun}.kind {kind!r} cannot keep one user's part of a step apart from the others'; "
                    f"take one that can (`fedrec components {noun}`), or turn privacy off"
                )
        return None


def encoder_objection(recipe: "Recipe") -> str | None:
    """What of the encoder's settings does not fit the model's sizes."""
    from fedrec.components.encoder import EncoderSizes  # with torch, which naming keys does not need

    model = recipe.model
    sizes = EncoderSizes(model.dimension, model.dropout, model.maximum_length)
    objection: str | None = find("encoder", recipe.encoder.kind).objection(recipe.encoder, sizes)
    return objection
