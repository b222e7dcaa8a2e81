"""A run that is stopped while a node fetches one of its messages leaves neither a task nor half of a message."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.proto.message_pb2 import Message as Announced
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.start_client_internal import _pull_and_store_message

from fedrec.deployment.runtime_api import TaskClient
from fedrec.deployment.supernode import forgetting
from fedrec.simulation.nodes import set_identity

set_identity()
RUN = 7


class Line:
    """Flower's connection of a node, with one message to fetch of a run that ends after some of its objects."""

    def __init__(self, message: Message, objects_until_the_end: int) -> None:
        self.message, self.left = message, objects_until_the_end
        self.contents = {key: part.deflate() for key, part in get_all_nested_objects(message).items()}

    def receive(self) -> tuple[Message, Any]:
        return self.message, get_object_tree(self.message)

    def pull_object(self, run_id: int, object_id: str) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise RunNotRunningException
        return self.contents[object_id]

    def confirm(self, run_id: int, object_id: str) -> None:
        raise RunNotRunningException

    @contextmanager
    def connect(self, *_: object) -> Iterator[tuple[Any, ...]]:
        yield 1, self.receive, None, None, None, self.pull_object, None, self.confirm


@pytest.mark.parametrize("objects", [0, 2, 10_000], ids=["at once", "midway", "while confirming"])
@pytest.mark.parametrize("through", [forgetting, lambda connect: connect], ids=["here", "Flower's own"])
def test_nothing_is_left(objects: int, through: Any) -> None:
    stores = ObjectStoreFactory()
    store, state = stores.store(), NodeStateFactory(stores).state()
    state.set_node_id(1)
    state.store_run(Run.create_empty(RUN))
    content = RecordDict({"arrays": ArrayRecord({"x": Array(np.arange(4.0))})})
    message = Message(content, dst_node_id=1, message_type="train.pretrain")
    message.metadata.__dict__["_run_id"] = RUN
    message.metadata.__dict__["_message_id"] = message.object_id
    line = Line(message, objects)
    with through(line.connect)("address") as (_, receive, _send, get_run, get_fab, pull_object, _push, confirm):
        fetched = _pull_and_store_message(
            state=state,
            object_store=store,
            node_config={},
            receive=receive,
            get_run=get_run,
            get_fab=get_fab,
            pull_object=pull_object,
            confirm_message_received=confirm,
            trusted_entities=None,
        )
    assert fetched is None
    waiting = [task.task_id for task in state.get_tasks() if not task.finished_at]
    if through is forgetting:
        assert not waiting
        assert not state.get_messages_legacy(is_reply=False)
    else:
        assert waiting, "Flower cleans up by itself now: `forgetting` can go"
    assert all(task.type == TaskType.CLIENT_APP for task in state.get_tasks())


def test_a_task_that_is_there_before_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        PullAppMessagesResponse(),
        PullAppMessagesResponse(),
        PullAppMessagesResponse(messages_list=[Announced()]),
    ]
    monkeypatch.setattr(RuntimeHttpClient, "PullMessages", lambda *_: answers.pop(0))
    client = object.__new__(TaskClient)  # its connection is not asked
    assert len(client.PullMessages(PullAppMessagesRequest()).messages_list) == 1
    assert not answers
