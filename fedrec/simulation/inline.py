"""Engine ``inline``: Flower's Grid in this process. The same ServerApp, ClientApp and strategies, no Ray, no sockets.

Messages are answered one after the other, in the order given. Two touches of Flower are not public: the message id,
which otherwise the SuperLink sets, and the task's identity.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedrec.progress import OnReply, ignore
from fedrec.simulation.nodes import RUN_ID, NodeConfig, set_identity

FIRST_NODE = 1001
CLIENT_RAISED = 1  # an exception that the app itself did not turn into a reply


class LocalGrid(Grid):
    """A Grid whose nodes are on this machine; ``on_reply`` hears of every answer."""

    def __init__(self, node_configs: Sequence[NodeConfig], on_reply: OnReply = ignore) -> None:
        self.node_configs = dict(enumerate(node_configs, start=FIRST_NODE))
        self._on_reply = on_reply
        self._replies: dict[str, Message] = {}
        self._sent = 0
        self._run = Run.create_empty(RUN_ID)
        set_identity()

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
        return list(self.node_configs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Number the messages and hand them to the nodes."""
        numbered = {}
        for message in messages:
            self._sent += 1
            identifier = f"local-{self._sent}"
            message.metadata.__dict__["_message_id"] = identifier
            numbered[identifier] = message
        self._accept(numbered)
        return list(numbered)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out the waiting replies, each once."""
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    @abstractmethod
    def _accept(self, messages: dict[str, Message]) -> None:
        """Take messages by identifier; each is answered by :meth:`_deliver` sooner or later."""

    def _deliver(self, identifier: str, question: Message, reply: Message) -> None:
        self._replies[identifier] = reply
        self._on_reply(self.node_configs[question.metadata.dst_node_id].market, question.metadata.message_type)


class InlineGrid(LocalGrid):
    """Every message is answered at once, in this process."""

    def __init__(self, app: ClientApp, node_configs: Sequence[NodeConfig], on_reply: OnReply = ignore) -> None:
        super().__init__(node_configs, on_reply)
        self._app = app
        self._contexts = {node: node_config.context(node) for node, node_config in self.node_configs.items()}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull. ``timeout`` cannot strike (recipes that set one here are refused)."""
        return self.pull_messages(self.push_messages(messages))

    def _accept(self, messages: dict[str, Message]) -> None:
        for identifier, message in messages.items():
            self._deliver(identifier, message, answer(self._app, message, self._contexts))


def answer(app: ClientApp, message: Message, contexts: Mapping[int, Context]) -> Message:
    """What the node that a message is for says; an exception that its app does not catch is an error of its kind."""
    try:
        return app(message, contexts[message.metadata.dst_node_id])
    except Exception as error:
        return Message(Error(CLIENT_RAISED, type(error).__name__), reply_to=message)
