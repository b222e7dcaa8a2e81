"""What a request shows to the SuperLink's gate, beyond the fleet's interface: that it comes from the coordinator.

Derived from the secret that the coordinator's part shares with its SuperLink, so that the secret itself is never sent.
"""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedrec.errors import UserError

HEADER = "fedrec-control"
_PURPOSE = b"fedrec: the SuperLink's control and runtime interfaces"


def read_secret(path: str) -> bytes:
    """The secret that an executor shares with its SuperLink or SuperNode, as Flower reads it."""
    try:
        secret = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; copy it from the deployment") from None
    if not secret:
        raise UserError(f"{path}: holds no secret; make it again with `fedrec deploy init`")
    return secret


def control_token(secret: bytes) -> str:
    """The token of a secret, in hexadecimal."""
    return hmac.new(secret, _PURPOSE, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class ControlTokenInterceptor:
    """Adds the token to a client's requests."""

    token: str

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Flower's hook."""
        context.request.headers[HEADER] = self.token
        return call_next(context)
