"""M3Rec (Cao et al., Item Similarity Mining for Multi-Market Recommendation, SIGIR 2022).

Items are what markets share, so their similarities are made once, before any training: within a market by a linear
model in closed form (EASE), across markets by random walks over the graph of those similarities. A market's model then
scores an item by what the user's history says of it in both, beside a factorisation. Deviations: walks are not drawn;
their co-occurrences are factorised in closed form (as NetMF, Qiu et al., WSDM 2018, does for DeepWalk), and how the two
similarities enter the local model is our reading of the abstract.
"""

import torch
from torch import Tensor, nn

from fedrec.models.pointwise.interface import PointwiseModel, Request, Sizes, table


class M3Rec(PointwiseModel):
    """Factorisation of one market plus two given similarities, each with a learned weight.

    ``within`` [I, I]: what having row i says of column j in this market. ``across`` [I, e]: unit vectors of the items.
    """

    def __init__(self, sizes: Sizes, within: Tensor, across: Tensor) -> None:
        super().__init__()
        self.users = table(sizes.users, sizes.dimension)
        self.items = table(sizes.items, sizes.dimension)
        self.bias = table(sizes.items, 1)
        self.within_weight = nn.Parameter(torch.ones(()))
        self.across_map = nn.Linear(across.shape[1], across.shape[1], bias=False)
        nn.init.eye_(self.across_map.weight)
        self.within: Tensor
        self.register_buffer("within", within, persistent=False)
        self.across: Tensor
        self.register_buffer("across", across, persistent=False)

    def forward(self, request: Request) -> Tensor:
        """Logits [B, C]."""
        vectors = self.items(request.items)  # [B, C, d]
        factors = torch.einsum("bd,bcd->bc", self.users(request.users), vectors)
        said = self.within[request.histories[:, :, None], request.items[:, None]]  # [B, L, C]
        said = (said * request.valid[..., None]).sum(dim=1)  # [B, C]
        candidates = self.across[request.items]  # [B, C, e]
        alike = (self.across_map(self._profiles(request, candidates)) * candidates).sum(dim=-1)  # [B, C]
        result: Tensor = factors + self.bias(request.items).squeeze(-1) + self.within_weight * said + alike
        return result

    def _profiles(self, request: Request, candidates: Tensor) -> Tensor:
        """Mean vectors [B, C, e] of what the history holds beside the candidate itself."""
        other = request.valid[:, None] & (request.histories[:, None] != request.items[..., None])  # [B, C, L]
        total = torch.einsum("bcl,ble->bce", other.to(candidates.dtype), self.across[request.histories])
        return total / other.sum(dim=-1, keepdim=True).clamp(min=1)
