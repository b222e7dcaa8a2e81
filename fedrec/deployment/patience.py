"""Flower's patience, where it has too much and where it has too little.

For a part of a message that was announced and has not arrived it looks again after one second, then two, then four:
between hosts that answer within a second that is most of a round. And it takes every connection that breaks under TLS
for a wrong certificate, and gives up; others it tries again after up to twenty seconds.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import httpx
from flwr.supercore.retry import RetryInvoker, exponential, http_retry

FIRST_SECONDS, LONGEST_SECONDS = 0.05, 2.0
LONGEST_RETRY_SECONDS = 5
_PULLING = ("pull_objects", "pull_and_inflate_object_from_tree")


def patient_invoker() -> RetryInvoker:
    """Flower's way of trying a request again, for ever and soon, unless a certificate is wrong."""
    invoker = http_retry.make_simple_http_retry_invoker()
    if invoker.should_giveup is not None:
        invoker.should_giveup = _certificate_or(invoker.should_giveup)
    invoker.wait_gen_factory = partial(exponential, max_delay=LONGEST_RETRY_SECONDS)
    return invoker


def _certificate_or(final: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
    """Whether to give up: a broken connection never is a reason, a wrong certificate always."""

    def give_up(error: Exception) -> bool:
        if isinstance(error, httpx.TransportError):
            return "certificate" in str(error).lower()
        return final(error)

    return give_up


def look_often(module: ModuleType) -> None:
    """Let one of Flower's modules look for missing parts sooner."""
    for name in _PULLING:
        if hasattr(module, name):
            pull = partial(getattr(module, name), initial_backoff=FIRST_SECONDS, backoff_cap=LONGEST_SECONDS)
            setattr(module, name, pull)
