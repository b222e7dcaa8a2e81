"""Private parameters that stage one trains: a market carries them from round to round, and they never leave."""

from clients.memory import FileMemory, arrays_of, tensors
from clients.node import MarketNode
from fedrec.training.stages import State

_EVERY_ROUND = 10**6  # all are kept: which round is best is known only when the rounds are over


def carried(node: MarketNode, after_round: int) -> State | None:
    """What the market had after a round, or after the latest one before it that it took part in; None for none."""
    return tensors(_memory(node).load(after_round + 1)) or None


def carry(node: MarketNode, server_round: int, state: State) -> None:
    """Keep private parameters for the rounds that follow."""
    if state:
        _memory(node).save(server_round, arrays_of(state))


def _memory(node: MarketNode) -> FileMemory:
    return FileMemory(node.folder, "carried", _EVERY_ROUND)
