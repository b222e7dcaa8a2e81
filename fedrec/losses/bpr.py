"""Bayesian personalised ranking (Rendle et al., UAI 2009): the target above sampled others."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedrec.components.loss import Loss, LossSettings
from fedrec.losses.negatives import scores_of, uniform_negatives


class BPRSettings(LossSettings):
    """Of loss.kind bpr."""

    kind: str = "bpr"
    negatives: int = Field(default=16, ge=1, le=4096, description="drawn for each interaction, uniformly")


class BPR(Loss):
    """Mean over negatives of -log sigmoid of the difference of scores."""

    Settings = BPRSettings

    def rows(self, queries: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
        """[N]."""
        own = (queries * keys[targets]).sum(dim=-1, keepdim=True)  # [N, 1]
        negatives = uniform_negatives(targets, len(keys), self.settings.negatives)
        return -F.logsigmoid(own - scores_of(queries, keys, negatives)).mean(dim=-1)
