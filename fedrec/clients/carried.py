"""Private parameters that stage one trains: a market carries them from round to round, and they never leave."""

from fedrec.clients.memory import FileMemory, arrays_of, tensors
from fedrec.clients.node import MarketNode
from fedrec.training.stages import State

_BEYOND = 4  # rounds, that a resumed run may go back


def carried(node: MarketNode, after_round: int) -> State | None:
    """What the market had after a round, or after the latest one before it that it took part in; None for none."""
    return tensors(_memory(node).load(after_round + 1)) or None


def carry(node: MarketNode, server_round: int, state: State, patience: int) -> None:
    """Keep private parameters for the rounds that follow, and for the best one, which ``patience`` keeps near."""
    if state:
        _memory(node, patience + _BEYOND).save(server_round, arrays_of(state))


def _memory(node: MarketNode, kept: int = 1) -> FileMemory:
    return FileMemory(node.folder, "carried", kept)
