"""A ranker that all markets train: a few thousand numbers over features of candidates, made of statistics that sum."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from fedrec.components.algorithm import Algorithm, Need, Step
from fedrec.components.capability import Capability
from fedrec.components.section import ComponentSettings
from fedrec.models.ranker_features import GROUPS, Group, feature_names

if TYPE_CHECKING:
    from fedrec.models.ranker import Ranker as Model


_LISTED = 5  # candidates of a user for each that a scorer proposes: nine scorers agree on many


class RankerSettings(ComponentSettings):
    """Of the ranker."""

    kind: Literal["ranker"] = "ranker"
    hidden: int = Field(default=64, ge=1, le=4096, description="width of the hidden layer")
    min_count: int = Field(default=2, ge=1, description="counts of fewer users stay in the market; 1 sends all")
    per_scorer: int = Field(default=40, ge=1, le=1000, description="candidates that each of nine scorers proposes")
    sampled: int = Field(default=60, ge=1, le=10000, description="candidates beside the target in a training step")
    statistics: Literal["summed", "own"] = Field(
        default="summed", description="own is the ablation: markets share the ranker and no statistics"
    )
    left_out: list[Group] = Field(default=[], description="groups of features; an ablation")

    @field_validator("left_out")
    @classmethod
    def _something_is_left(cls, groups: list[Group]) -> list[Group]:
        if set(groups) == set(GROUPS):
            raise ValueError("all features are left out; keep one group")
        return sorted(set(groups))


class Ranker(Algorithm):
    """Statistics of the histories are summed once; then the ranker is trained in rounds, and again with validation."""

    Settings = RankerSettings
    needs = frozenset({Need.STATISTICS})
    capabilities = frozenset({Capability.OTHER_MARKETS, Capability.AUDIT, Capability.USER_PRIVACY})
    methods = frozenset({"federated", "local", "local_shared_statistics", "popularity", "itemknn", "ease", "fedease"})
    mixed = False
    takes_scores = True

    @property
    def min_count(self) -> int | None:
        """Of the recipe; None where markets keep their statistics."""
        return self.settings.min_count if self.settings.statistics == "summed" else None

    @property
    def bytes_per_user(self) -> float:
        """Features of the candidates of a user, of what is learned and of validation."""
        settings = self.settings
        names = feature_names(settings.statistics == "summed", settings.left_out, self.recipe.scores.on)
        return float(4 * len(names) * _LISTED * settings.per_scorer * 2)

    @classmethod
    def model(cls) -> "type[Model]":
        """Everything is shared."""
        from fedrec.models.ranker import Ranker as Model

        return Model

    @classmethod
    def trainer(cls) -> type[Any]:
        """Softmax over the target and some other candidates."""
        from fedrec.training.ranker.trainer import RankerTrainer

        return RankerTrainer

    def build(self, items: int) -> "Model":
        """Over the features of a market in the federation."""
        return self.build_over(self.min_count is not None, self.recipe.scores.on)

    def build_over(self, summed: bool, modelled: bool) -> "Model":
        """Over features of the market's own statistics, where ``summed`` of all markets' too.

        ``modelled``: the score of another model is one more feature.
        """
        from fedrec.models.ranker import build_ranker

        features = len(feature_names(summed, self.settings.left_out, modelled))
        return build_ranker(features, self.settings.hidden, self.recipe.model.dropout, self.recipe.seed)

    def plan(self) -> tuple[Step, ...]:
        """Once more with validation users when the rounds have chosen how many there are.

        Under privacy nothing travels but the noised statistics, and every market trains a ranker of its own on them:
        features are made of everyone's rows, so in a round one user would move every user's gradient.
        """
        if "federated" not in self.recipe.evaluation.methods:
            return (Step.BASELINES,)
        if self.recipe.privacy.on:
            return (Step.FINETUNE, Step.BASELINES)
        scores = (Step.SCORES,) if self.recipe.scores.on else ()
        return (*scores, Step.ROUNDS, Step.REFIT, Step.FINETUNE, Step.BASELINES)

    def objection(self) -> str | None:
        """What the ranker's features do not cover."""
        recipe = self.recipe
        if recipe.evaluation.protocol == "acmr":
            return "evaluation.protocol acmr ranks drawn candidates, and algorithm.kind 'ranker' chooses its own"
        if self.settings.statistics == "own" and "local_shared_statistics" in recipe.evaluation.methods:
            return "algorithm.statistics own: evaluation.methods local_shared_statistics has none to share; remove it"
        if recipe.finetune.epochs:
            return "finetune.epochs: algorithm.kind 'ranker' adapts nothing in the markets; set it to 0"
        if recipe.prior.federated:
            return "prior.federated: algorithm.kind 'ranker' mixes in no prior; set it to false"
        if recipe.privacy.on and self.settings.statistics == "own" and "federated" in recipe.evaluation.methods:
            return "algorithm.statistics own: under privacy statistics are all that a ranker's markets share; sum them"
        if recipe.pacer.on:
            return "pacer: algorithm.kind 'ranker' has no local term; set pacer.scales=nothing and pacer.alignment=0"
        return None
