"""The coordinator's end, against nodes that lie, double, stall and stay silent."""

import json
import threading
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.run import RunNotRunningException

from fedrec.server.hosts import HostGrid, NodeKeys
from fedrec.simulation.inline import InlineGrid
from fedrec.simulation.nodes import NodeConfig, set_identity

set_identity()
KEYS = {"alfa": "PEM-A", "bravo": "PEM-B"}
NODES = {1001: "PEM-A", 1002: "PEM-B\n", 1003: "PEM-X"}


class Nodes(InlineGrid):
    """Answers as it is told: ``replies[node]`` makes the list of what comes back to a question."""

    def __init__(self, replies: dict[int, Any]) -> None:
        super().__init__(lambda message, context: message, [NodeConfig({"market": name}, 0) for name in "abc"])  # type: ignore[arg-type]
        self.replies = replies
        self.questions: dict[str, Message] = {}

    def _accept(self, messages: dict[str, Message]) -> None:
        self.questions |= messages

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [reply for i in message_ids for reply in self._answers(i)]

    def _answers(self, identifier: str) -> list[Message]:
        question = self.questions[identifier]
        found = self.replies[question.metadata.dst_node_id](question)
        for reply in found:
            reply.metadata.__dict__["_reply_to_message_id"] = identifier
        return list(found)

    def get_nodes(self) -> Any:
        return [SimpleNamespace(node_id=node, public_key=key.encode()) for node, key in NODES.items()]


def honest(question: Message) -> list[Message]:
    return [Message(RecordDict({"c": ConfigRecord({"x": "y"})}), reply_to=question)]


def forged(question: Message) -> list[Message]:
    (reply,) = honest(question)
    reply.metadata.__dict__["_src_node_id"] = 1003
    return [reply]


def ask(replies: dict[int, Any], timeout: float | None = 2.0) -> tuple[list[Message], list[dict[str, Any]], float]:
    inner = Nodes(replies)
    events: list[dict[str, Any]] = []
    grid = HostGrid(inner, NodeKeys(inner, KEYS), lambda kind, **fields: events.append({"event": kind, **fields}))
    questions = [Message(RecordDict(), node, "query.hello", ttl=100, group_id="0") for node in replies]
    started = time.monotonic()
    found = list(grid.send_and_receive(questions, timeout=timeout))
    return found, events, time.monotonic() - started


def test_every_honest_answer_comes_and_is_told() -> None:
    replies, events, _ = ask({1001: honest, 1002: honest}, None)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [1001, 1002]
    assert sorted(event["market"] for event in events) == ["alfa", "bravo"]


def test_nobody_answers_for_another() -> None:
    replies, events, _ = ask({1001: forged, 1002: honest})
    assert [reply.metadata.src_node_id for reply in replies] == [1002]
    (refused,) = [event for event in events if event["event"] == "refused"]
    assert (refused["market"], refused["node"]) == ("alfa", 1003)


def test_flowers_own_word_that_a_node_is_gone() -> None:
    def gone(question: Message) -> list[Message]:
        reply = Message(Error(5, "Node Unavailable"), reply_to=question)
        reply.metadata.__dict__["_src_node_id"] = 1
        return [reply]

    replies, _, _ = ask({1001: gone}, 20.0)
    assert [(reply.metadata.src_node_id, reply.error.code) for reply in replies] == [(1001, 5)]


def test_a_node_that_comes_back_is_asked_again() -> None:
    asked: list[str] = []

    def gone_once(question: Message) -> list[Message]:
        asked.append(question.metadata.message_id)
        return honest(question) if len(set(asked)) > 1 else gone(question)

    def gone(question: Message) -> list[Message]:
        reply = Message(Error(5, "Node Unavailable"), reply_to=question)
        reply.metadata.__dict__["_src_node_id"] = 1
        return [reply]

    replies, _, _ = ask({1001: gone_once}, 20.0)
    assert [reply.has_error() for reply in replies] == [False]


@pytest.mark.parametrize(
    "error",
    [KeyError("CustomDataClass"), RecursionError(), json.JSONDecodeError("x", "y", 0), AttributeError("metadata")],
)
def test_a_reply_that_cannot_be_made_sense_of_is_that_markets_error(error: Exception) -> None:
    """What Flower raises over a malformed message is no reason for a run to end."""

    def nonsense(question: Message) -> list[Message]:
        raise error

    replies, _, _ = ask({1001: nonsense, 1002: honest})
    found = {reply.metadata.src_node_id: reply for reply in replies}
    assert found[1001].error.reason == f"undecodable reply ({type(error).__name__})"
    assert not found[1002].has_error()


def test_one_that_stalls_while_its_reply_is_fetched_keeps_nobody_else_waiting() -> None:
    stalled = threading.Event()

    def stalls(question: Message) -> list[Message]:
        stalled.wait(20)
        return honest(question)

    replies, _, seconds = ask({1001: stalls, 1002: honest}, 1.0)
    stalled.set()
    assert [reply.metadata.src_node_id for reply in replies] == [1002]
    assert seconds < 10


def test_an_error_of_the_superlink_ends_the_waiting() -> None:
    def broken(question: Message) -> list[Message]:
        raise ConnectionError("the SuperLink is gone")

    with pytest.raises(ConnectionError):
        ask({1001: broken, 1002: lambda question: []}, None)


def test_a_run_that_was_stopped_waits_for_nobody() -> None:
    def stopped(question: Message) -> list[Message]:
        raise RunNotRunningException

    with pytest.raises(RunNotRunningException):
        ask({1001: stopped, 1002: lambda question: []}, 60.0)


def test_keys_decide_who_is_who() -> None:
    keys = NodeKeys(Nodes({}), KEYS)
    assert [keys.owner_of(node) for node in (1001, 1002, 1003, 1004)] == ["alfa", "bravo", None, None]
