"""What a SuperLink remembers of nodes that are restarted, and of keys that are let in again; beside Flower's own."""

from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.server.superlink.linkstate import InMemoryLinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager

from fedrec.deployment.link_memory import LinkMemory
from fedrec.simulation.nodes import set_identity

set_identity()


class Link:
    """A SuperLink's memory with one node and one run."""

    def __init__(self, kind: type[InMemoryLinkState]) -> None:
        store = ObjectStoreFactory().store()
        self.state: Any = kind(federation_manager=NoOpFederationManager(), object_store=store)
        self.node = self.state.create_node("a", "a", b"key", 10.0)
        assert self.state.activate_node(self.node, 10.0)
        words = (None, None, None, {}, NOOP_FEDERATION_ID, None, None, TaskType.SERVER_APP)
        self.run = self.state.create_run(*words)

    def ask(self, text: str) -> str:
        """A question for the node; its identifier."""
        message = Message(RecordDict({"c": ConfigRecord({"text": text})}), self.node, "train.pretrain", ttl=600)
        message.metadata.__dict__["_run_id"] = self.run
        message.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
        message.metadata.__dict__["_message_id"] = message.object_id
        identifier = self.state.store_message_ins(message)
        assert isinstance(identifier, str)
        return identifier

    def restart_node(self) -> None:
        """The node's process is gone and another is let in, before anybody asks for a reply."""
        self.state.nodes[self.node].online_until = 0.0
        assert self.state.activate_node(self.node, 10.0)

    def errors(self, identifier: str) -> list[int]:
        """Codes of the replies to a question so far."""
        return [reply.error.code for reply in self.state.get_message_res({identifier}, self.run)]


@pytest.mark.parametrize(("kind", "said"), [(LinkMemory, [ErrorCode.NODE_UNAVAILABLE]), (InMemoryLinkState, [])])
def test_a_restarted_node_answers_what_its_last_process_took(kind: type[InMemoryLinkState], said: list[int]) -> None:
    link = Link(kind)
    first = link.ask("taken")
    assert len(link.state.get_message_ins(link.node, None)) == 1
    link.restart_node()
    assert link.errors(first) == said, "Flower answers by itself now: `LinkMemory.activate_node` can go"


def test_a_question_that_no_process_took_waits_for_the_next() -> None:
    link = Link(LinkMemory)
    first = link.ask("waits")
    link.restart_node()
    assert link.errors(first) == []
    (message,) = link.state.get_message_ins(link.node, None)
    assert message.metadata.message_id == first


def test_one_error_for_a_question_however_often_a_node_is_restarted() -> None:
    link = Link(LinkMemory)
    first = link.ask("taken")
    link.state.get_message_ins(link.node, None)
    link.restart_node()
    link.restart_node()
    assert link.errors(first) == [ErrorCode.NODE_UNAVAILABLE]
    assert len(link.state.message_res_store) == 1


def test_a_key_is_let_in_again() -> None:
    link = Link(LinkMemory)
    link.state.delete_node("a", link.node)
    assert link.state.get_node_id_by_public_key(b"key") is None
    link.state.create_node("a", "a", b"key", 10.0)
    flowers = Link(InMemoryLinkState)
    flowers.state.delete_node("a", flowers.node)
    with pytest.raises(ValueError, match="already in use"):
        flowers.state.create_node("a", "a", b"key", 10.0)
