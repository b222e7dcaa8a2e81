"""A SuperLink's memory, where nodes are restarted and keys are let in again.

Flower answers for a node that is gone when somebody asks while it is gone. A node that is back before the next question
has lost what it was given, and nobody says so: the coordinator would wait until its deadline. And Flower keeps the key
of a node that it lets in no more, and refuses it for ever.
"""

from collections.abc import Sequence
from typing import Any

from flwr.server.superlink.linkstate import InMemoryLinkState
from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_res_message


class LinkMemory(InMemoryLinkState):
    """Flower's memory of a federation; a node that begins again answers what it was asked before with an error."""

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Let a process speak for a node: what another process was given for it is lost."""
        with self.lock:
            activated = super().activate_node(node_id, heartbeat_interval)
            if activated:
                self._answer_lost_messages(node_id)
            return activated

    def delete_node(self, owner_aid: str, node_id: int) -> None:
        """Let a node in no more; its key may come again."""
        with self.lock:
            super().delete_node(owner_aid, node_id)
            self.node_public_key_to_node_id.pop(self.nodes[node_id].public_key, None)

    def _answer_lost_messages(self, node_id: int) -> None:
        for identifier, message in self.message_ins_store.items():
            taken = message.metadata.dst_node_id == node_id and message.metadata.delivered_at != ""
            if taken and identifier not in self.message_ins_id_to_message_res_id:
                reply = create_message_error_unavailable_res_message(message.metadata, "node_unavail")
                self._store_generated_message(reply)
                self.message_res_store[reply.metadata.message_id] = reply
                self.message_ins_id_to_message_res_id[identifier] = reply.metadata.message_id


def install(modules: Sequence[Any]) -> None:
    """Let Flower's SuperLink use this memory. ``modules`` make it."""
    for module in modules:
        setattr(module, "InMemoryLinkState", LinkMemory)  # noqa: B010
