"""A model whose parameters are either shared by a federation or private to a market."""

from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups


class FederatedModel(nn.Module):
    """Declares its parameter groups; everything that leaves, is aggregated or is stored goes by them."""

    groups: ParameterGroups

    def shared_state(self) -> dict[str, Tensor]:
        """A copy of the shared parameters on the CPU, by sorted name."""
        shared = self.groups.select_shared(self.state_dict())
        return {name: value.detach().cpu().clone() for name, value in shared.items()}

    def join(self, other: "FederatedModel") -> None:
        """From now on have the shared parameters of ``other``, not copies of them."""
        for name in self.groups.shared_names(self.state_dict()):
            parent, _, last = name.rpartition(".")
            theirs = getattr(other.get_submodule(parent), last)
            setattr(self.get_submodule(parent), last, theirs)
