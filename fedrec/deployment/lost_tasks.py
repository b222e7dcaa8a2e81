"""A SuperNode's memory, where its executor may be killed at any moment.

A node has one executor, which does one task after the other. So an executor that asks for a task has finished the one
before, or lost it: killed, or cut off while it sent its reply. Flower notices the first after a minute by missing
heartbeats, and then says so to whichever message is being answered; the second it waits three minutes for, and then
says nothing. Here both are said at once, and to the message that was lost.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flwr.app import Message
from flwr.common.constant import Status
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.runtime_pb2 import AcquireTaskRequest, AcquireTaskResponse
from flwr.supercore.date import now
from flwr.supercore.object_store import ObjectStore
from flwr.supercore.servicer.runtime import runtime_handlers
from flwr.supernode.nodestate import InMemoryNodeState


class SerialNodeState(InMemoryNodeState):
    """Flower's memory of a node; a reply is there once all of it is, and a lost task is over at the next request."""

    def __init__(self, object_store: ObjectStore) -> None:
        super().__init__(object_store)
        self._arriving: dict[str, Message] = {}  # replies of which parts are missing, by push session

    def store_message_and_object_tree(
        self, message: Message, object_tree: ObjectTree, session_id: str
    ) -> tuple[bool, list[str]]:
        """Announce a reply; it is nobody's to send before its parts have come."""
        with self._lock_object_push_sessions:
            missing = self.preregister_object_tree(object_tree, session_id)
            if not missing:
                return self.store_message(message) is not None, missing
            self._arriving[session_id] = message
            return True, missing

    def store_object(self, run_id: int, session_id: str, object_id: str, object_content: bytes) -> bool:
        """Take one part of a reply; with the last one the reply is there."""
        with self._lock_object_push_sessions:
            stored = super().store_object(run_id, session_id, object_id, object_content)
            if stored and session_id not in self._object_push_sessions and session_id in self._arriving:
                self.store_message(self._arriving.pop(session_id))
            return stored

    def end_lost_tasks(self) -> None:
        """End every task that an executor began: the messages it has not answered get an error for a reply."""
        with self._lock_object_push_sessions:
            for session in list(self._arriving):
                del self._arriving[session]
                self._cleanup_push_session(session, cleanup_messages=True)
        with self.lock_task_store, self.lock_msg_store:
            begun = {self.task_store[task].run_id for task in self.task_token_store if self._runs(task)}
            for identifier, entry in self.msg_store.items():
                if entry.message.metadata.run_id in begun and not entry.is_retrieved:
                    # The executor had begun and not yet asked for the message: Flower would answer only what was asked.
                    entry.is_retrieved = True
                    self.record_message_processing_start(identifier)
            for record in self.task_token_store.values():
                record.active_until = now() - timedelta(seconds=1)
            self._cleanup_expired_task_tokens_locked()

    def _runs(self, task: int) -> bool:
        """Whether the executor had begun a task; one that it only took is given again."""
        return task in self.task_store and self.task_store[task].status.status == Status.RUNNING


def acquire_task(request: AcquireTaskRequest, state: SerialNodeState) -> AcquireTaskResponse:
    """Give the executor a task, once what it had before is settled."""
    state.end_lost_tasks()
    return runtime_handlers.acquire_task(request, state)


def install(modules: Sequence[Any], handlers: Any) -> None:
    """Let Flower's node use this memory. ``modules`` make or name the memory's class; ``handlers`` answer executors."""
    for module in modules:
        setattr(module, "InMemoryNodeState", SerialNodeState)  # noqa: B010
    setattr(handlers, "acquire_task", acquire_task)  # noqa: B010
