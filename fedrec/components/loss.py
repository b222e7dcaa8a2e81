"""The noun ``loss``: how wrong the scores of next items are."""

from typing import Any, ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor

from fedrec.components.capability import Capability
from fedrec.components.section import ComponentSettings
from fedrec.errors import RunError


class LossSettings(ComponentSettings):
    """Base of a loss's settings."""

    tau: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="temperature of the scores")


class Items(NamedTuple):
    """What a loss may know of a market's I items before anything is trained."""

    semantics: Tensor  # [I, e] frozen vectors
    known: Tensor  # [I] False where a vector carries no meaning


class Alike(NamedTuple):
    """Items that share their key with others: D keys for I items."""

    place: Tensor  # [I] which key is an item's
    log_counts: Tensor  # [D] logarithm of how many items have it


class Loss:
    """Base of losses; built as ``LossClass(settings, items)`` in every market. It has nothing to learn.

    A subclass writes :meth:`rows`. One that can do without a score for every item overrides :meth:`__call__`, which
    never needs them all at once. Chance is PyTorch's generator, which is seeded.
    """

    Settings: ClassVar[type[LossSettings]]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """USER_PRIVACY: a row's loss is a function of that row and the keys alone, nothing is drawn, and :meth:`of_scores`
    is there."""

    def __init__(self, settings: Any, items: Items) -> None:
        self.settings = settings
        self.items = items

    def rows(self, queries: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
        """The loss [N] of each of N interactions. Scores are ``queries @ keys.T``, temperature and bias included.

        ``queries`` [N, d + 1], ``keys`` [I, d + 1], ``targets`` [N] item indices. Queries are divided by ``tau``, and
        the last column is that of the items' biases, where queries have a one.
        """
        raise NotImplementedError

    def of_scores(self, scores: Tensor, targets: Tensor, alike: Alike | None = None) -> Tensor:
        """The loss [...] from ``scores`` [..., I], with ``alike`` [..., D]: where each user has keys of their own."""
        raise NotImplementedError

    def __call__(
        self, queries: Tensor, keys: Tensor, targets: Tensor, weights: Tensor | None = None, alike: Alike | None = None
    ) -> Tensor:
        """The mean over rows, or their sum under ``weights`` [N]; a scalar. With ``alike``, ``keys`` are [D, d]."""
        each = self.rows(queries, keys if alike is None else keys[alike.place], targets)
        if each.shape != targets.shape:
            raise RunError(
                f"loss {type(self).__name__}: rows returned shape {tuple(each.shape)} for {len(targets)} interactions; "
                "return one value for each"
            )
        return each.mean() if weights is None else each @ weights

    def hard(self) -> "Loss":
        """That of stage two, in which a market adapts alone."""
        return self

    @property
    def perplexity(self) -> float | None:
        """Over how many items a target is spread, where targets are soft."""
        return None
