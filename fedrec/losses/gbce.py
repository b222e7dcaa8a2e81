"""gBCE over sampled negatives (Petrov and Macdonald, RecSys 2023, gSASRec); with calibration 0, binary cross-entropy.

The loss of one interaction is -log s(z+)^b - sum_k log(1 - s(z_k)), with b = a (t (1 - 1/a) + 1/a), where a is the
share of the other items that is drawn and t the calibration. With t = 1, b = a: the predicted probabilities are those
of a model that saw all negatives. SASRec's own loss is t = 0 with one negative. Divided by 1 + k here, so that the
learning rate does not hang on k.
"""

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedrec.components.loss import Loss, LossSettings
from fedrec.losses.negatives import scores_of, uniform_negatives


class GBCESettings(LossSettings):
    """Of loss.kind gbce."""

    kind: str = "gbce"
    negatives: int = Field(default=64, ge=1, le=4096, description="drawn for each interaction, uniformly")
    calibration: float = Field(default=0.75, ge=0, le=1, description="0 is binary cross-entropy")


class GBCE(Loss):
    """Binary cross-entropy of the target and sampled others, the target's probability to the power b."""

    Settings = GBCESettings

    def rows(self, queries: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
        """[N]."""
        count, items = self.settings.negatives, len(keys)
        share = min(count / (items - 1), 1.0)
        power = share * (self.settings.calibration * (1 - 1 / share) + 1 / share)
        own = (queries * keys[targets]).sum(dim=-1)  # [N]
        others = scores_of(queries, keys, uniform_negatives(targets, items, count))  # [N, k]
        result: Tensor = (-power * F.logsigmoid(own) - F.logsigmoid(-others).sum(dim=-1)) / (1 + count)
        return result
