"""Engine ``inline``: Flower's Grid in this process. The same ServerApp, ClientApp and strategies, no Ray, no sockets.

Messages are answered one after the other, in the order given. Two touches of Flower are not public: the message id,
which otherwise the SuperLink sets, and the task's identity, which otherwise Flower's own processes set.
"""

from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

NodeConfig = Mapping[str, str]
OnReply = Callable[[str, str], None]  # market, action
_RUN_ID, _TASK_ID, _SERVER_NODE, _FIRST_CLIENT_NODE = 1, 1, 1, 1001
_CLIENT_RAISED = 1  # an exception that the app itself did not turn into a reply


class InlineGrid(Grid):
    """One node per configuration; ``on_reply`` hears of every answer."""

    def __init__(
        self, app: ClientApp, nodes: Iterable[NodeConfig], on_reply: OnReply = lambda _market, _action: None
    ) -> None:
        self._app = app
        self._on_reply = on_reply
        self._contexts = {
            node: Context(_RUN_ID, node, dict(config), RecordDict(), {})
            for node, config in enumerate(nodes, start=_FIRST_CLIENT_NODE)
        }
        self._replies: dict[str, Message] = {}
        self._sent = 0
        self._run = Run.create_empty(_RUN_ID)
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = _TASK_ID, _RUN_ID, _SERVER_NODE

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer every message at once; the replies wait to be pulled."""
        identifiers = []
        for message in messages:
            self._sent += 1
            identifier = f"inline-{self._sent}"
            message.metadata.__dict__["_message_id"] = identifier
            self._replies[identifier] = self._answer(message)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out the waiting replies, each once."""
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull. ``timeout`` cannot strike: the answer is there when the call returns."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            reply = self._app(message, context)
        except Exception as error:
            reply = Message(Error(_CLIENT_RAISED, type(error).__name__), reply_to=message)
        self._on_reply(str(context.node_config.get("market")), message.metadata.message_type)
        return reply
