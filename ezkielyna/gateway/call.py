"""An API request as the pipeline gets it: what its head says, its body, and the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, unquote

from ezkielyna.contract.errors import RequestTooLarge, UnsupportedMediaType
from ezkielyna.contract.provider import Headers
from ezkielyna.gateway.reply import Reply

PREFIXES = ("/api/v1/", "/v1/")


class Credential:
    """A key as it was sent, whatever it is, and the digest that it is known by."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha256(text.encode()).digest()


class Head:
    """What the head of an API request says, its Content-Length aside, and who answers it.

    Requests that repeat a head on their connection share one of these.
    """

    __slots__ = ("credential", "handler", "idempotency_key", "method", "path", "query")

    def __init__(
        self, handler: Handler, method: str, path: str, query: str, headers: Headers
    ) -> None:
        self.handler = handler
        self.method = method
        self.path = path
        self.query = query
        self.credential = credential_in(headers)
        self.idempotency_key = headers.get("Idempotency-Key")


class Call:
    """A complete API request."""

    __slots__ = ("body", "head", "headers", "reply")

    def __init__(self, head: Head, headers: Headers, body: bytes, reply: Reply) -> None:
        self.head = head
        self.headers = headers
        self.body = body
        self.reply = reply

    @property
    def peer(self) -> str:
        """The address of the other end of the connection: the client, or a proxy before it."""
        return self.reply.peer

    @property
    def forwarded(self) -> str | None:
        """The header `X-Forwarded-For`, which anybody may have written."""
        return self.headers.get("X-Forwarded-For")

    def argument(self, name: str) -> str | None:
        """Return the last value of a query parameter."""
        values = parse_qs(self.head.query).get(name)
        return values[-1] if values else None


Handler = Callable[[Call], Coroutine[Any, Any, None]]


def credential_in(headers: Headers) -> Credential | None:
    """Return the key of `Authorization: Bearer` or `x-api-key`; None when there is none."""
    authorization = headers.get("Authorization")
    if authorization is not None:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() == "bearer":
            text = text.strip()
            return Credential(text) if text else None
    key = headers.get("x-api-key")
    return Credential(key) if key else None


def api_path(path: str) -> str | None:
    """Return the path below `/api/v1` or `/v1`, decoded; None when it is no API path."""
    for prefix in PREFIXES:
        if path.startswith(prefix):
            below = path[len(prefix) - 1 :]
            return unquote(below) if "%" in below else below
    return None


def check_body_headers(headers: Headers, max_body: int) -> None:
    """Raise UnsupportedMediaType or RequestTooLarge for a body that will not be taken."""
    media_type = headers.get("Content-Type", "application/json")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(
            f"The Content-Type is {media_type!r}; send 'Content-Type: application/json'."
        )
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not taken; send the JSON as it is.")
    length = headers.get("Content-Length", "")
    if length.isdigit() and int(length) > max_body:
        raise too_large(max_body)


def too_large(max_body: int) -> RequestTooLarge:
    """Return the error for a body with more bytes than these."""
    return RequestTooLarge(f"The body is larger than {max_body} bytes.")
