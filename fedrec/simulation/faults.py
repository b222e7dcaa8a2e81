"""Simulated trouble, for studies: markets that do not answer, and answers that come a round too late.

Drawn per market and round from the seed, so that every engine, and a run that was resumed, meets the same trouble.
"""

from collections.abc import Iterable
from pathlib import Path

from flwr.app import Message
from flwr.serverapp import Grid

from fedrec.exchange.declaration import HELLO, ROUNDS
from fedrec.exchange.payload import TEXTS
from fedrec.files import write_atomic
from fedrec.recipe import FaultSettings
from fedrec.seeds import numpy_generator
from fedrec.server.relay import RelayGrid
from fedrec.simulation.workers import decode, encode

_KEPT_ROUNDS = 3  # a resumed run goes back two rounds at most, and reads the answers of the one before


class FaultyGrid(RelayGrid):
    """Loses and delays answers to rounds, of models and of codebooks. Late ones wait in ``folder``."""

    def __init__(self, inner: Grid, faults: FaultSettings, seed: int, folder: Path) -> None:
        super().__init__(inner)
        self.faults = faults
        self.seed = seed
        self.folder = folder
        self._market_of: dict[int, str] = {}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send to those that do not drop out; hold back late answers and hand out those of the round before."""
        asked = list(messages)
        action = asked[0].metadata.message_type if asked else ""
        if action not in ROUNDS:
            replies = list(self.inner.send_and_receive(asked, timeout=timeout))
            self._learn_names(replies)
            return replies
        server_round = int(asked[0].metadata.group_id)
        fates = {message.metadata.dst_node_id: self._fate(message, action, server_round) for message in asked}
        sent = [message for message in asked if fates[message.metadata.dst_node_id] != "dropped"]
        waiting = self.folder / action
        arrived = [self._delayed(path) for path in sorted(waiting.glob(f"{server_round - 1:06d}-*"))]
        for path in waiting.glob("*"):
            if int(path.name.partition("-")[0]) < server_round - _KEPT_ROUNDS:
                path.unlink()
        for reply in self.inner.send_and_receive(sent, timeout=timeout):
            node = reply.metadata.src_node_id
            if fates[node] == "late":
                write_atomic(waiting / f"{server_round:06d}-{self._market_of[node]}", encode(reply))
            else:
                arrived.append(reply)
        return arrived

    def _delayed(self, path: Path) -> Message:
        """A late answer, from the node that its market has now: in a resumed run on Ray that is another one."""
        reply = decode(path.read_bytes())
        node_of = {market: node for node, market in self._market_of.items()}
        reply.metadata.__dict__["_src_node_id"] = node_of[path.name.partition("-")[2]]  # not public
        return reply

    def _fate(self, message: Message, action: str, server_round: int) -> str:
        market = self._market_of[message.metadata.dst_node_id]
        dropped, late = numpy_generator(self.seed, market, "faults", action, server_round).random(2)
        if dropped < self.faults.dropout:
            return "dropped"
        return "late" if late < self.faults.late else "well"

    def _learn_names(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.metadata.message_type == HELLO and reply.has_content():
                self._market_of[reply.metadata.src_node_id] = str(reply.content.config_records[TEXTS]["market"])
