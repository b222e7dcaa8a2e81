"""Flower's patience, where it has too much and where it has too little.

For a part of a message that was announced and has not arrived it looks again after one second, then two, then four:
between hosts that answer within a second that is most of a round. And it takes every connection that breaks under TLS
for a wrong certificate, and gives up.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import httpx

FIRST_SECONDS, LONGEST_SECONDS = 0.05, 2.0
_PULLING = ("pull_objects", "pull_and_inflate_object_from_tree")


def try_again(module: ModuleType) -> None:
    """Let one of Flower's modules try again after a broken connection, unless a certificate is wrong."""
    make = module.make_simple_http_retry_invoker

    def patient() -> Any:
        invoker = make()
        invoker.should_giveup = _certificate_or(invoker.should_giveup)
        return invoker

    setattr(module, "make_simple_http_retry_invoker", patient)  # noqa: B010


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
