"""A model whose parameters are either shared by a federation or private to a market."""

from functools import cached_property

from torch import Tensor, nn

from fedrec.exchange.groups import ParameterGroups


class FederatedModel(nn.Module):
    """Declares its parameter groups; everything that leaves, is aggregated or is stored goes by them."""

    groups: ParameterGroups

    @cached_property
    def shared_names(self) -> list[str]:
        """Names of the shared parameters, sorted; raises ``ValueError`` where one is in no group or in two."""
        return self.groups.shared_names(self.state_dict())

    def shared(self) -> dict[str, Tensor]:
        """The shared parameters themselves, by sorted name."""
        return {name: self._named(name).detach() for name in self.shared_names}

    def shared_state(self) -> dict[str, Tensor]:
        """A copy of them on the CPU."""
        return {name: value.cpu().clone() for name, value in self.shared().items()}

    def join(self, other: "FederatedModel") -> None:
        """From now on have the shared parameters of ``other``, not copies of them."""
        for name in self.shared_names:
            parent, _, last = name.rpartition(".")
            setattr(self.get_submodule(parent), last, other._named(name))

    def _named(self, name: str) -> Tensor:
        """A parameter or buffer. For one of them :meth:`state_dict` walks through all."""
        parent, _, last = name.rpartition(".")
        tensor: Tensor = getattr(self.get_submodule(parent), last)
        return tensor
