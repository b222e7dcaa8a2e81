"""A model whose parameters are either shared by a federation or private to a market."""

from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups


class FederatedModel(nn.Module):
    """Declares its parameter groups; everything that leaves, is aggregated or is stored goes by them."""

    groups: ParameterGroups

    def shared(self) -> dict[str, Tensor]:
        """The shared parameters themselves, by sorted name."""
        return self.groups.select_shared(self.state_dict())

    def shared_state(self) -> dict[str, Tensor]:
        """A copy of them on the CPU."""
        return {name: value.cpu().clone() for name, value in self.shared().items()}

    def join(self, other: "FederatedModel") -> None:
        """From now on have the shared parameters of ``other``, not copies of them."""
        for name in self.shared():
            parent, _, last = name.rpartition(".")
            theirs = getattr(other.get_submodule(parent), last)
            setattr(self.get_submodule(parent), last, theirs)
