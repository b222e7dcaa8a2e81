"""How long Flower waits before it looks again for a part of a message that was announced and has not arrived.

Flower looks after one second, then two, then four; between hosts that answer within a second that is most of a round.
"""

from functools import partial
from types import ModuleType

FIRST_SECONDS, LONGEST_SECONDS = 0.05, 2.0
_PULLING = ("pull_objects", "pull_and_inflate_object_from_tree")


def look_often(module: ModuleType) -> None:
    """Let one of Flower's modules look for missing parts sooner."""
    for name in _PULLING:
        if hasattr(module, name):
            pull = partial(getattr(module, name), initial_backoff=FIRST_SECONDS, backoff_cap=LONGEST_SECONDS)
            setattr(module, name, pull)
