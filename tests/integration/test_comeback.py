"""A market that drops out and comes back from another node."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from flwr.app import Error, Message

from fedrec.clients.app import app
from fedrec.data.store import open_stores
from fedrec.runs.folder import RunFolder
from fedrec.server.coordinator import Coordinator
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.nodes import NodeConfig
from tests.integration.harness import node_configs, quick

NODE_UNAVAILABLE = 4
NEW_NODE = 7777


class MovingGrid(InlineGrid):
    """bravo's node goes away after round 1 and is back, with another number, after round 3."""

    def __init__(self, own: Sequence[NodeConfig]) -> None:
        super().__init__(app, own)
        (self.old,) = (node for node, node_config in self.node_configs.items() if node_config.market == "bravo")
        self.node_configs[NEW_NODE] = self.node_configs[self.old]
        self._contexts[NEW_NODE] = self.node_configs[self.old].context(NEW_NODE)
        self.round = 0

    def get_node_ids(self) -> Iterable[int]:
        gone = NEW_NODE if self.round < 3 else self.old
        return [node for node in self.node_configs if node != gone]

    def _accept(self, messages: dict[str, Message]) -> None:
        for identifier, message in messages.items():
            if message.metadata.message_type == "train.pretrain":
                self.round = int(message.metadata.group_id)
            if message.metadata.dst_node_id == self.old and self.round > 1:
                reply = Message(Error(NODE_UNAVAILABLE, "Node Unavailable"), reply_to=message)
                self._deliver(identifier, message, reply)
            else:
                super()._accept({identifier: message})


def test_it_is_missed_and_then_welcomed(synthetic: Path, tmp_path: Path) -> None:
    """Round 1 whole, rounds 2 and 3 without bravo, rounds 4 and 5 whole again; stage two reaches it too."""
    recipe = quick("federation.rounds=5", "federation.patience=9", "evaluation.methods=[federated]")
    run = RunFolder.create(tmp_path / "run", recipe)
    grid = MovingGrid(node_configs(open_stores(synthetic), tmp_path))
    summary = Coordinator(grid, run, recipe).lead(["alfa", "bravo", "charlie"], "inline", "synthetic")
    accepted = [record["accepted"] for record in summary["rounds"]]
    whole, rest = ["alfa", "bravo", "charlie"], ["alfa", "charlie"]
    assert accepted == [whole, rest, rest, whole, whole]
    assert "Node Unavailable" in summary["rounds"][1]["rejected"][0]["reason"]
    assert not summary["failed"]
    assert summary["markets"]["bravo"]["results"]


class Intruded(InlineGrid):
    """From round 2 on there is one more node, and it says it were bravo too."""

    def __init__(self, own: Sequence[NodeConfig]) -> None:
        super().__init__(app, own)
        (bravo,) = (node_config for node_config in own if node_config.market == "bravo")
        self.node_configs[NEW_NODE] = bravo
        self._contexts[NEW_NODE] = bravo.context(NEW_NODE)
        self.asked: list[int] = []

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self.node_configs if node != NEW_NODE or self.asked]

    def _accept(self, messages: dict[str, Message]) -> None:
        self.asked += [m.metadata.dst_node_id for m in messages.values() if m.metadata.message_type != "query.hello"]
        super()._accept(messages)


def test_nobody_takes_a_seat_that_is_held(synthetic: Path, tmp_path: Path) -> None:
    """The intruder is asked who it is, and then nothing: no parameters, no questions."""
    recipe = quick("federation.rounds=3", "evaluation.methods=[federated]")
    grid = Intruded(node_configs(open_stores(synthetic), tmp_path))
    run = RunFolder.create(tmp_path / "run", recipe)
    summary = Coordinator(grid, run, recipe).lead(["alfa", "bravo", "charlie"], "inline", "synthetic")
    assert [record["accepted"] for record in summary["rounds"]] == [["alfa", "bravo", "charlie"]] * 3
    assert NEW_NODE not in grid.asked
