"""The market's half of an aggregator, where it has one: a term of the loss, and a memory that never leaves."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedrec.clients.memory import FileMemory, arrays_of, tensors
from fedrec.clients.node import MarketNode
from fedrec.components.aggregator import Aggregator, LocalTerm
from fedrec.components.registry import find
from fedrec.recipe import Recipe
from fedrec.training.stages import LocalTrainer, State


@dataclass(frozen=True)
class RoundTerm:
    """That of one round, which began with ``start``."""

    term: LocalTerm
    start: State
    memory: State
    trainer: LocalTrainer[Any]
    kept: FileMemory
    round: int

    def __call__(self) -> Tensor:
        """What is added to a batch's loss."""
        return self.term.penalty(self._parameters(), self.start, self.memory)

    def keep(self) -> None:
        """Remember, now that the round is over."""
        parameters = {name: value.detach() for name, value in self._parameters().items()}
        after = self.term.remember(parameters, self.start, self.memory)
        self.kept.save(self.round, arrays_of({name: value.cpu() for name, value in after.items()}))

    def _parameters(self) -> State:
        return {name: value for name, value in self.trainer.model.named_parameters() if name in self.start}


def round_term(node: MarketNode, recipe: Recipe, trainer: LocalTrainer[Any], server_round: int) -> RoundTerm | None:
    """Of the recipe's aggregator, before the trainer has moved; None where markets do nothing for it."""
    found: type[Aggregator] = find("aggregator", recipe.aggregator.kind)
    if found.local is None:
        return None
    kept = FileMemory(node.folder, "aggregator")
    memory = {name: value.to(trainer.device) for name, value in tensors(kept.load(server_round)).items()}
    shared = set(trainer.model.shared_names)
    start = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if n in shared}
    return RoundTerm(found.local(recipe.aggregator), start, memory, trainer, kept, server_round)
