"""Markets that go wrong in ways a test cannot do from outside: named as ``module:attribute``, in any process."""

import os
import time
from collections.abc import Callable

from flwr.app import Context, Message

from fedrec.clients.app import app as honest_app

VICTIM, ROUND = "bravo", "2"


def _in_one_round(trouble: Callable[[], object]) -> Callable[[Message, Context], Message]:
    def app(message: Message, context: Context) -> Message:
        metadata = message.metadata
        if (context.node_config["market"], metadata.message_type, metadata.group_id) == (
            VICTIM,
            "train.pretrain",
            ROUND,
        ):
            trouble()
        return honest_app(message, context)

    return app


dying = _in_one_round(lambda: os._exit(9))
hanging = _in_one_round(lambda: time.sleep(600))
