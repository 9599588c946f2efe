"""Where a request goes, and the bytes of its head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ezkielyna.contract.errors import UpstreamError

_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")
_NOT_IN_A_HEADER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to the connection, not to the request: a provider cannot set them."""


class Origin(NamedTuple):
    """What a connection leads to; connections are pooled by it."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host:port` as `Host` and CONNECT spell it; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


class Target(NamedTuple):
    """A parsed URL: its origin, and the request target in origin form."""

    origin: Origin
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Return the target of an absolute URL; raises UpstreamError where it is none.

        White space and control characters are refused before parsing, because `urlsplit`
        silently drops some of them.
        """
        if _NOT_IN_A_URL.search(url):
            raise _refused()
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise _refused() from None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise _refused()
        path = parts.path or "/"
        return cls(
            Origin(parts.scheme, parts.hostname, port),
            f"{path}?{parts.query}" if parts.query else path,
        )


def first_lines(target: Target, *, absolute: bool = False, authorization: str = "") -> str:
    """Return what follows the method of every request to a target; ends with a line break.

    `absolute` is for a plain request through a proxy, `authorization` is the proxy's.
    """
    scheme, authority = target.origin.scheme, target.origin.authority
    path = f"{scheme}://{authority}{target.path}" if absolute else target.path
    lines = f" {path} HTTP/1.1\r\nHost: {authority}\r\nAccept-Encoding: identity\r\n"
    return lines + (f"Proxy-Authorization: {authorization}\r\n" if authorization else "")


class Opening:
    """How the requests of one method and provider to one URL begin: all but length and body.

    Raises UpstreamError where a line break or another control character hides in a header.
    `sized` says that an empty body has a Content-Length, too.
    """

    __slots__ = ("head", "headers", "method", "origin", "sized")

    def __init__(self, origin: Origin, method: str, start: str, headers: Mapping[str, str]) -> None:
        self.origin = origin
        self.method = method
        self.headers = dict(headers)
        self.head = _head(method, start, headers)
        self.sized = method in _BODY_EXPECTED


def _head(method: str, start: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head up to its length, `start` being the target's first lines."""
    lines = [method, start]
    for name, value in headers.items():
        if name.lower() not in _OURS:
            lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    breaks = len(lines) - 2 + start.count("\n")
    if not (method.isalpha() and text.count("\n") == breaks == text.count("\r")):
        raise _refused()
    if _NOT_IN_A_HEADER.search(text):
        raise _refused()
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise _refused() from None


def _refused() -> UpstreamError:
    return UpstreamError("The request to the upstream could not be written.", retryable=False)
