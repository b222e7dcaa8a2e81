"""Cross-entropy over the whole catalogue, exact, without holding its scores (see :mod:`fedrec.losses.s2ce`)."""

from torch import Tensor

from fedrec.components.capability import Capability
from fedrec.components.loss import Alike, Loss, LossSettings
from fedrec.losses.s2ce import s2ce, s2ce_of_scores


class CrossEntropySettings(LossSettings):
    """Of loss.kind ce."""

    kind: str = "ce"


class CrossEntropy(Loss):
    """logsumexp of all scores minus the target's."""

    Settings = CrossEntropySettings
    capabilities = frozenset({Capability.USER_PRIVACY})

    def __call__(
        self, queries: Tensor, keys: Tensor, targets: Tensor, weights: Tensor | None = None, alike: Alike | None = None
    ) -> Tensor:
        """A scalar."""
        return s2ce(queries, keys, targets, None, 0.0, weights=weights, alike=alike)

    def of_scores(self, scores: Tensor, targets: Tensor, alike: Alike | None = None) -> Tensor:
        """[...]."""
        return s2ce_of_scores(scores, targets, None, 0.0, alike)
