"""Names of hosts without a name service: ``FEDREC_RESOLVE=NAME=ADDRESS``.

In Kubernetes a market's executor reaches its node and nothing else, name services included, which would carry words
out. The cluster tells it the node's address in its environment; certificates are made for the node's name.
"""

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from fedrec.errors import UserError

VARIABLE = "FEDREC_RESOLVE"


def resolve_by_environment() -> None:
    """Let the name that ``FEDREC_RESOLVE`` gives an address have it in this process; all others as before."""
    given = os.environ.get(VARIABLE)
    if given:
        setattr(socket, "getaddrinfo", resolving(socket.getaddrinfo, *_read(given)))  # noqa: B010


def resolving(ask: Callable[..., Any], name: str, address: str) -> Callable[..., Any]:
    """A look-up that knows one name."""

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        return ask(address if host in {name, name.encode()} else host, *arguments, **more)

    return look_up


def _read(given: str) -> tuple[str, str]:
    name, _, address = given.partition("=")
    try:
        return name, str(ip_address(address))
    except ValueError:
        raise UserError(f"{VARIABLE}={given}: write NAME=ADDRESS, such as node=10.0.0.7") from None
