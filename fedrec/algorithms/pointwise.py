"""Algorithms whose model scores pairs of user and item, items known by key: ACMR, NeuMF, Wide & Deep, MMoE.

Item tables have a row for every item of all markets, which is why every market's item keys go to the coordinator.
Vectors of users, and what else a model declares private, stay in the market and are carried from round to round.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fedrec.components.algorithm import Algorithm, Need
from fedrec.components.section import ComponentSettings
from fedrec.errors import UserError

if TYPE_CHECKING:
    from fedrec.models.pointwise.interface import FederatedPointwise, Sizes


class PointwiseSettings(ComponentSettings):
    """Of every pointwise algorithm."""

    negatives: int = Field(default=4, ge=1, le=100, description="drawn for each positive, in every epoch")


class PointwiseAlgorithm(Algorithm):
    """Base: a subclass names its model's class and may build it otherwise than from its sizes."""

    needs = frozenset({Need.VOCABULARY})
    reads = frozenset()

    @classmethod
    def model(cls) -> "type[FederatedPointwise]":
        """A pointwise model with parameter groups."""
        raise NotImplementedError

    @classmethod
    def trainer(cls) -> type[Any]:
        """Binary cross-entropy on positives and drawn negatives, or whatever the model's own loss is."""
        from fedrec.training.pairs import PairTrainer

        return PairTrainer

    def make(self, sizes: "Sizes") -> "FederatedPointwise":
        """A model of these sizes, its parameters drawn from torch's generator."""
        return self.model()(sizes)

    def build(self, items: int, users: int = 0) -> "FederatedPointwise":
        """For a market of so many users. Shared parameters depend on the seed and the vocabulary alone."""
        if not (users and self.model().needs_user):
            return self._make(items)
        model = self._make(items, users)  # vectors of users are drawn too, and move what is drawn after them
        model.load_state_dict(self._make(items).shared_state(), strict=False)
        return model

    def _make(self, items: int, users: int = 0) -> "FederatedPointwise":
        from fedrec.models.pointwise.interface import Sizes
        from fedrec.seeds import seeded_torch

        settings = self.recipe.model
        sizes = Sizes(users, items, 1, settings.dimension, self._hidden(), settings.dropout, settings.maximum_length)
        with seeded_torch(self.recipe.seed, "model"):
            return self.make(sizes)

    def require(self) -> None:
        """Groups that cover every parameter once, and no shared one that depends on how many users a market has."""
        kind = self.recipe.algorithm.kind
        try:
            shapes = [
                {name: tuple(value.shape) for name, value in self._make(3, users).shared_state().items()}
                for users in (2, 5)
            ]
        except ValueError as error:
            raise UserError(f"algorithm.kind {kind!r}: {error}") from error
        for name, shape in shapes[0].items():
            if shapes[1][name] != shape:
                raise UserError(
                    f"algorithm.kind {kind!r}: parameter {name!r} is shared, and its shape depends on how many users a "
                    "market has; declare it private"
                )

    def objection(self) -> str | None:
        """What needs a vector of every user, or a user without a candidate."""
        from fedrec.models.pointwise.interface import FederatedPointwise

        model, recipe, kind = self.model(), self.recipe, self.recipe.algorithm.kind
        if model.needs_user and recipe.data.user_share < 1:
            return f"data.user_share: algorithm.kind {kind!r} knows nothing of users that train nothing; set it to 1"
        if recipe.pacer.alignment and model.user_states is FederatedPointwise.user_states:
            return f"pacer.alignment: algorithm.kind {kind!r} says nothing of users without a candidate; set it to 0"
        return None

    def _hidden(self) -> tuple[int, ...]:
        """Widths of the perceptron, where there is one."""
        return tuple(getattr(self.settings, "hidden", ()))


class AcmrSettings(PointwiseSettings):
    """What attends to what, and what it knows of the market."""

    kind: Literal["acmr"] = "acmr"
    layers: int = Field(default=2, ge=1, le=32)
    heads: int = Field(default=2, ge=1, le=32)
    attention: Literal["history", "joint"] = Field(
        default="history", description="what a candidate attends to: the history; joint: it and the history to both"
    )
    market_embedding: bool = Field(default=True, description="false is the ablation")


class Acmr(PointwiseAlgorithm):
    """ACMR in a federation: everything is shared but the market's embedding."""

    Settings = AcmrSettings

    @classmethod
    def model(cls) -> "type[FederatedPointwise]":
        """Attention over items in their market."""
        from fedrec.models.pointwise.acmr import Acmr as Model

        return Model

    def make(self, sizes: "Sizes") -> "FederatedPointwise":
        """With the section's own sizes."""
        from fedrec.models.pointwise.acmr import Acmr as Model

        one = self.settings
        return Model(sizes, one.layers, one.heads, one.attention, one.market_embedding)

    def objection(self) -> str | None:
        """Heads share the vector."""
        dimension, heads = self.recipe.model.dimension, self.settings.heads
        if dimension % heads:
            return f"model.dimension {dimension} is no multiple of algorithm.heads {heads}; change one"
        return super().objection()


class PerceptronSettings(PointwiseSettings):
    """Of a model with a perceptron."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(128, 64, 32), min_length=1, max_length=16, description="widths of the perceptron"
    )


class NeuMFSettings(PerceptronSettings):
    """Of NeuMF."""

    kind: Literal["neumf"] = "neumf"


class NeuMF(PointwiseAlgorithm):
    """NeuMF in a federation: users' vectors stay in their market."""

    Settings = NeuMFSettings

    @classmethod
    def model(cls) -> "type[FederatedPointwise]":
        """Product of vectors beside a perceptron."""
        from fedrec.models.pointwise.neumf import NeuMF as Model

        return Model


class WideAndDeepSettings(PerceptronSettings):
    """Of Wide & Deep."""

    kind: Literal["wide_and_deep"] = "wide_and_deep"


class WideAndDeep(PointwiseAlgorithm):
    """Wide & Deep in a federation: users' weights and vectors stay in their market."""

    Settings = WideAndDeepSettings

    @classmethod
    def model(cls) -> "type[FederatedPointwise]":
        """Weights beside a perceptron."""
        from fedrec.models.pointwise.wide_and_deep import WideAndDeep as Model

        return Model


class MmoeSettings(PerceptronSettings):
    """Of MMoE."""

    kind: Literal["mmoe"] = "mmoe"
    experts: int = Field(default=4, ge=1, le=64, description="that all markets share")


class Mmoe(PointwiseAlgorithm):
    """MMoE in a federation: item vectors and experts are shared, the market's gate and tower are its own."""

    Settings = MmoeSettings

    @classmethod
    def model(cls) -> "type[FederatedPointwise]":
        """Experts, and a gate and a tower."""
        from fedrec.models.pointwise.mmoe import Mmoe as Model

        return Model

    def make(self, sizes: "Sizes") -> "FederatedPointwise":
        """With the section's own number of experts."""
        from fedrec.models.pointwise.mmoe import Mmoe as Model

        return Model(sizes, self.settings.experts)
