"""FOREC (Bonab et al., Cross-Market Product Recommendation, CIKM 2021): a forked NeuMF.

Three steps: NeuMF on all markets; meta-learning with the markets as tasks (MAML), so that one step adapts it; then a
fork for each market, which freezes the embeddings and the first layers and trains the last ones and a head of its own.
The paper transfers from one source to one target; here, as in ACMR's table, all markets are sources. Deviations: first
order MAML (its gradient is taken at the adapted parameters), three passes over the largest market of it where the
authors make a dozen, and widths as in interface.py.
"""

from torch import Tensor, nn

from fedrec.models.pointwise.interface import Request, Sizes, perceptron
from fedrec.models.pointwise.neumf import NeuMF


class Forec(NeuMF):
    """NeuMF; once forked, with a market head in the place of its output."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.head: nn.Module | None = None

    def fork(self) -> None:
        """Freeze what all markets agreed on and begin a head for one market."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.perceptron[-4:].requires_grad_(True)  # the last two maps and their rectifiers
        width = self.output.in_features
        self.head = perceptron((width, 2 * width, width), last=True)

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        features = self.features(request)
        result: Tensor = (self.output if self.head is None else self.head)(features).squeeze(-1)
        return result
