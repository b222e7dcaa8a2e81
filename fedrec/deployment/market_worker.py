"""The process in which an approved bundle answers messages, started by the market's executor: ``FD APP``.

It imports nothing of the installed fedrec: the executor puts the bundle first on the path, and what runs here is the
bundle's code alone. It knows no token and no address; messages come and go through an inherited pipe.
"""

import ctypes
import importlib
import signal
import sys
from multiprocessing.connection import Connection

from flwr.app import Error, Message
from flwr.common.serde import context_from_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity

APP_RAISED = 1  # an exception that the app itself did not turn into a reply
READY = b"ready"
_PR_SET_PDEATHSIG = 1  # Linux: the signal for when the parent is gone


def main() -> None:
    """Answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the executor decides what an interruption means
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # two would write one market's private state
    descriptor, reference = sys.argv[1:]
    connection = Connection(int(descriptor))
    module, _, attribute = reference.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    connection.send_bytes(READY)
    while True:
        try:
            message = message_from_proto(ProtoMessage.FromString(connection.recv_bytes()))
            context = context_from_proto(ProtoContext.FromString(connection.recv_bytes()))
        except EOFError:
            return
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = context.run_id, context.node_id, 0
        try:
            reply = app(message, context)
        except Exception as error:
            reply = Message(Error(APP_RAISED, type(error).__name__), reply_to=message)  # its text may quote data
        connection.send_bytes(message_to_proto(reply).SerializeToString())


if __name__ == "__main__":
    main()
