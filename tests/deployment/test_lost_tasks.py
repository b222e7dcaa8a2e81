"""A node whose executor is killed at any moment answers the question that was lost, at the executor's next request."""

import hashlib

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode.servicer.runtime import runtime_handlers

from fedrec.deployment.lost_tasks import SerialNodeState, acquire_task
from fedrec.simulation.nodes import set_identity

set_identity()
RUN, NODE = 7, 1
ACQUIRE = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
MOMENTS = ["before it begins", "before it has the message", "while it computes", "half way through its reply"]


class Node:
    """Flower's handlers over our memory of a node, with one question waiting."""

    def __init__(self) -> None:
        self.state = SerialNodeState(ObjectStoreFactory().store())
        self.state.set_node_id(NODE)
        self.fab = Fab(hashlib.sha256(b"x").hexdigest(), b"x", {})
        run = Run.create_empty(RUN)
        run.fab_hash = self.fab.hash_str
        self.state.store_fab(self.fab)
        self.state.store_run(run)
        context = Context(run_id=RUN, node_id=NODE, node_config={}, state=RecordDict(), run_config={})
        self.state.set_run_series_context(run.series_id, context)
        self.question = self.ask("first")

    def ask(self, text: str) -> Message:
        message = Message(RecordDict({"c": ConfigRecord({"text": text})}), NODE, "train.pretrain", ttl=600)
        message.metadata.__dict__["_run_id"] = RUN
        message.metadata.__dict__["_message_id"] = message.object_id
        self.state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash=self.fab.hash_str)
        self.state.object_store.preregister(RUN, get_object_tree(message))
        self.state.store_message(message)
        return message

    def executor_until(self, moment: str) -> None:
        """An executor that is killed at a moment; with another word it finishes."""
        acquired = acquire_task(ACQUIRE, self.state)
        task = self.state.get_task_by_token(acquired.token)
        assert task is not None
        if moment == MOMENTS[0]:
            return
        runtime_handlers.pull_task_input(PullTaskInputRequest(), self.state, task)
        if moment == MOMENTS[1]:
            return
        runtime_handlers.pull_messages(PullAppMessagesRequest(), self.state, task)
        if moment == MOMENTS[2]:
            return
        reply = Message(RecordDict({"a": ArrayRecord({"x": Array(np.arange(9.0))})}), reply_to=self.question)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        pushed = runtime_handlers.push_messages(
            PushAppMessagesRequest(
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
            ),
            self.state,
            task,
        )
        contents = {key: part.deflate() for key, part in get_all_nested_objects(reply).items()}
        for place, key in enumerate(pushed.objects_to_push):
            if moment == MOMENTS[3] and place:
                return
            assert not self.state.get_messages_legacy(is_reply=True), "nobody sends half of a reply"
            runtime_handlers.push_object(
                PushObjectRequest(session_id=pushed.session_id, object_id=key, object_content=contents[key]),
                self.state,
                task,
            )
        output = PushTaskOutputRequest(sub_status=SubStatus.COMPLETED)
        runtime_handlers.push_task_output(output, self.state, task)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_executor(moment: str) -> None:
    node = Node()
    node.executor_until(moment)
    again = acquire_task(ACQUIRE, node.state)
    replies = node.state.get_messages_legacy(is_reply=True)
    if moment == MOMENTS[0]:
        assert again.HasField("task"), "what was not begun is given again"
        assert not replies
        return
    assert not again.HasField("task")
    (reply,) = replies
    assert reply.error.code == ErrorCode.CLIENT_APP_CRASHED
    assert reply.metadata.reply_to_message_id == node.question.metadata.message_id
    node.state.delete_messages(message_ids=[reply.metadata.message_id, node.question.metadata.message_id])
    node.question = node.ask("second")
    node.executor_until("to its end")
    (reply,) = node.state.get_messages_legacy(is_reply=True)
    assert not reply.has_error(), "the loss does not spoil the next answer"


def test_an_executor_that_finishes_loses_nothing() -> None:
    node = Node()
    node.executor_until("to its end")
    acquire_task(ACQUIRE, node.state)
    (reply,) = node.state.get_messages_legacy(is_reply=True)
    assert not reply.has_error()
