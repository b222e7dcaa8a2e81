"""Matrix factorisation of interactions, plain or over the graph of users and items."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_START = 0.1  # standard deviation of a fresh vector's norm


class Factorisation(nn.Module):
    """Vectors of U users and I items whose products rank.

    ``adjacency`` [U + I, U + I], symmetrically normalised, makes it LightGCN (He et al., SIGIR 2020): the mean of the
    vectors after 0 to ``layers`` steps over the graph. Without it, it is plain matrix factorisation.
    """

    def __init__(
        self, users: int, items: int, dimension: int, adjacency: Tensor | None = None, layers: int = 0
    ) -> None:
        super().__init__()
        self.users = users
        self.layers = layers if adjacency is not None else 0
        self.vectors = nn.Parameter(torch.randn(users + items, dimension) * _START / dimension**0.5)
        self.adjacency: Tensor | None
        self.register_buffer("adjacency", adjacency, persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Vectors of all users [U, d] and items [I, d]."""
        total = current = self.vectors
        for _ in range(self.layers):
            current = torch.sparse.mm(self.adjacency, current)
            total = total + current
        users, items = torch.split(total / (self.layers + 1), [self.users, len(total) - self.users])
        return users, items


def bipartite_adjacency(users: Tensor, items: Tensor, user_count: int, item_count: int) -> Tensor:
    """D^-1/2 A D^-1/2 of the graph whose edges are the distinct pairs (users[n], items[n]); sparse, [U + I, U + I]."""
    size = user_count + item_count
    edges = torch.unique(torch.stack([users, items + user_count]), dim=1)
    both = torch.cat([edges, edges.flip(0)], dim=1)
    degree = torch.bincount(both[0], minlength=size).clamp_min(1).float()
    values = (degree[both[0]] * degree[both[1]]).rsqrt()
    graph = torch.sparse_coo_tensor(both, values, (size, size), check_invariants=False)  # not saying so is a warning
    return graph.coalesce()


def bpr_loss(user: Tensor, positive: Tensor, negative: Tensor, penalty: float) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009) of B triples of vectors [B, d], with an L2 penalty."""
    margin = (user * (positive - negative)).sum(dim=-1)  # [B]
    squares = (user.square() + positive.square() + negative.square()).sum(dim=-1)
    return (-F.logsigmoid(margin) + penalty / 2 * squares).mean()
