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
        found: dict[str, Tensor] = {name: getattr(parent, last).detach() for name, parent, last in self._places}
        return found

    def shared_state(self) -> dict[str, Tensor]:
        """A copy of them on the CPU."""
        return {name: value.cpu().clone() for name, value in self.shared().items()}

    def join(self, other: "FederatedModel") -> None:
        """From now on have the shared parameters of ``other``, not copies of them."""
        for (_, parent, last), (_, theirs, _) in zip(self._places, other._places, strict=True):
            setattr(parent, last, getattr(theirs, last))

    @cached_property
    def _places(self) -> list[tuple[str, nn.Module, str]]:
        """Of every shared parameter its name, the module that holds it, and what it is called there.

        To look all of them up again takes six per cent of a tiny market's round.
        """
        split = [(name, *name.rpartition(".")[::2]) for name in self.shared_names]
        return [(name, self.get_submodule(parent), last) for name, parent, last in split]
