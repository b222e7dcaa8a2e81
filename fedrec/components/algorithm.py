"""The noun ``algorithm``: what a market trains, what that needs of the other markets, and the plan of a run."""

from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fedrec.components.capability import Capability
from fedrec.components.registry import find
from fedrec.components.section import ComponentSettings

if TYPE_CHECKING:
    from fedrec.models.federated import FederatedModel
    from fedrec.recipe import Recipe

Task = Literal["sequential", "ctr"]


class Need(Enum):
    """What has to pass between the markets before training, or be made of it."""

    VOCABULARY = "vocabulary"  # the item keys of all markets, for a table with a row for each
    ITEM_VECTORS = "item vectors"  # of the recipe's semantics
    CODES = "codes"  # of items and users, on a codebook of all markets
    STATISTICS = "statistics"  # of histories, summed over the markets


class Step(Enum):
    """What the coordinator can have the markets do, once they have what the algorithm needs."""

    CODES = "codes"  # vectors of each market, rounds on the common codebook, every market's codes
    SCORES = "scores"  # the model of section `scores`, with all that it needs, adapted in every market
    ROUNDS = "rounds"  # the shared parameters of the model
    REFIT = "refit"  # the same from the beginning, as many rounds as were best, with validation users among the learned
    FINETUNE = "finetune"  # every market adapts the shared model
    BASELINES = "baselines"  # models that average with nobody
    CLICKS = "clicks"  # click-through models on the codes


class Algorithm:
    """Base of algorithms; built as ``AlgorithmClass(recipe)``, by coordinator and markets alike.

    Its module is loaded at the coordinator, so it imports what opens prepared data inside :meth:`trainer` alone.
    """

    Settings: ClassVar[type[ComponentSettings]]
    task: ClassVar[Task] = "sequential"
    """What is predicted: the next item, or a click."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset(
        {"federated", "local", "pooled", "popularity", "itemknn", "ease", "fedease"}
    )
    """What ``evaluation.methods`` may ask it for."""
    mixed: ClassVar[bool] = True
    """Whether a market mixes the model's scores with those of its prior, by weights learned on validation."""

    reads: ClassVar[frozenset[str]] = frozenset({"encoder", "loss"})
    """Which of these components it takes; a recipe that names another one is refused."""

    takes_scores: ClassVar[bool] = False
    """Whether a model of another algorithm may be trained before, for its scores (section ``scores``)."""

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    @property
    def settings(self) -> Any:
        """Its own section."""
        return self.recipe.algorithm

    @property
    def min_count(self) -> int | None:
        """How many users are behind every count of :attr:`Need.STATISTICS` at least; None where none leave a market."""
        return None

    @classmethod
    def model(cls) -> "type[FederatedModel]":
        """The class of the federated model; its ``groups`` say what is shared."""
        raise NotImplementedError

    @classmethod
    def trainer(cls) -> type[Any]:
        """The market's half, a :class:`fedrec.training.stages.LocalTrainer`; called in markets alone."""
        raise NotImplementedError

    def build(self, items: int) -> "FederatedModel":
        """The untrained model as the coordinator knows it: its shared parameters, the same in every market.

        ``items``: of the vocabulary of all markets; 0 where none is needed.
        """
        raise NotImplementedError

    @property
    def bytes_per_user(self) -> float:
        """What a market holds in memory for each of its users while it trains, where that is much; an estimate."""
        return 0.0

    def require(self) -> None:
        """Raise :class:`fedrec.errors.UserError` for a model that no federation can train, before anything is asked."""

    def plan(self) -> tuple[Step, ...]:
        """The steps of a run, in order."""
        federated = (Step.ROUNDS, Step.FINETUNE) if "federated" in self.recipe.evaluation.methods else ()
        return (*federated, Step.BASELINES)

    def objection(self) -> str | None:
        """Keys of the recipe that do not fit the algorithm, with the remedy; None where all do."""
        return None


def algorithm_of(recipe: "Recipe") -> Algorithm:
    """The algorithm that a recipe names."""
    return algorithm_named(recipe.algorithm.kind)(recipe)


def algorithm_named(kind: str) -> type[Algorithm]:
    """An algorithm by its name; raises :class:`fedrec.errors.UserError` for one that nobody brings."""
    found: type[Algorithm] = find("algorithm", kind)
    return found


def goes_with(kind: str, capability: Capability) -> bool:
    """Whether the algorithm of a name declares a capability."""
    return capability in algorithm_named(kind).capabilities
