"""Pacer and Runner at the market: a local baseline that trains beside the federated model and says how far it may go.

After Park et al. (SIGIR 2024, SyNCRec), in federated form: the market compares the validation loss of the model that
came with that of its pacer, the same model on the same items trained as many rounds alone. The gap is the negative
transfer; it is the one number that is reported. See docs/pacer.md.
"""

from dataclasses import dataclass
from typing import Any

from fedrec.clients.memory import FileMemory, arrays_of, tensors
from fedrec.clients.methods import make_trainer
from fedrec.clients.node import MarketNode
from fedrec.exchange.weights import transfer_weight
from fedrec.recipe import Recipe, recipe_json
from fedrec.training.stages import LocalTrainer, Pace, State


@dataclass
class Pacer:
    """The pacer of one market, from round to round."""

    local: LocalTrainer[Any]
    first: State
    memory: FileMemory

    def set_pace(self, runner: LocalTrainer[Any], recipe: Recipe, server_round: int) -> tuple[float, Pace]:
        """The gap before this round in nats, runner minus pacer, and what follows from it."""
        self.local.load(tensors(self.memory.load(server_round)) or self.first)
        gap = runner.validation_loss() - self.local.validation_loss()
        settings = recipe.pacer
        step = transfer_weight(gap, settings.temperature) if settings.scales == "loss" else 1.0
        return gap, Pace(self.local, step, settings.alignment)

    def follow(self, server_round: int) -> None:
        """Train the pacer as long as the runner was."""
        self.local.pretrain_round(server_round)
        self.memory.save(server_round, arrays_of(self.local.state()))


def pacer_of(node: MarketNode, recipe: Recipe) -> Pacer:
    """The market's pacer, remembered within this process; what it has learned is on disk."""

    def make() -> Pacer:
        # Not `local`, which knows other things of the items where semantics are exchanged: what is weighed is what
        # averaging does, and states of two models can only be compared where both began alike.
        local = make_trainer(node, recipe, "federated")
        return Pacer(local, local.state(), FileMemory(node.folder, "pacer"))

    return node.remember("pacer", recipe_json(recipe), make)
