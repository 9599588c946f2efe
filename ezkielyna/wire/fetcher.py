"""Fetches images that customers name: guarded, because an address of theirs can lead anywhere.

A name is resolved once, every address it has must be public, and the connection goes to such an
address: there is no second look-up that could say something else. No redirect is followed, no proxy
is used (its look-up could not be checked), and time, size and type are limited.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import TypeVar

from ezkielyna.contract.errors import UpstreamError, UpstreamTimeout
from ezkielyna.contract.provider import TimeLimits, UpstreamRequest
from ezkielyna.contract.requests import Media
from ezkielyna.wire.addresses import is_public
from ezkielyna.wire.call import Call
from ezkielyna.wire.dial import Dialer
from ezkielyna.wire.proxies import Proxies
from ezkielyna.wire.target import Origin
from ezkielyna.wire.upstream import Upstream

LIMIT_S = 5.0
MOST_BYTES = 20 * 2**20
"""Of all images of one request together."""

AT_ONCE = 8
"""Requests whose images are fetched at once, in this process."""

HEADERS = {"accept": "image/*", "user-agent": "ezkielyna"}
TYPES = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "heic", "heif", "bmp")
)
_LIMITS = TimeLimits(connect_s=LIMIT_S, first_byte_s=LIMIT_S, idle_s=LIMIT_S, total_s=LIMIT_S)
_SIGNS = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)
"""How files begin that stores hand out as `application/octet-stream`."""

P = TypeVar("P", bound=asyncio.Protocol)


class FetchRefused(Exception):
    """An image cannot be had from this address; the text is a reason for the customer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.url = url
        self.reason = reason


class Fetcher:
    """Fetches the images of requests. `allow` are networks that may be used beside public ones."""

    def __init__(
        self, allow: Iterable[str] = (), *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        dialer = GuardedDialer(allow, ssl_context)
        self._upstream = Upstream(dialer=dialer, max_idle_per_origin=0)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, urls: Iterable[str]) -> dict[str, Media]:
        """Return what is at these addresses; raises FetchRefused for the first that has nothing."""
        async with self._turns:
            budget = _Budget(MOST_BYTES)
            images = [_Image(url, budget) for url in urls]
            try:
                for image in images:
                    request = UpstreamRequest("GET", image.url, HEADERS, b"")
                    image.call = self._upstream.start(request, _LIMITS, image)
                found = await asyncio.gather(*(image.ended for image in images))
            finally:
                for image in images:
                    image.give_up()
            return {image.url: media for image, media in zip(images, found, strict=True)}

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()


class GuardedDialer(Dialer):
    """Connects to addresses that were looked at. Raises OSError for any that may not be used."""

    __slots__ = ("_allowed",)

    def __init__(self, allow: Iterable[str], ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(Proxies({}), ssl_context)
        self._allowed = tuple(ip_network(network, strict=False) for network in allow)

    async def connect(self, origin: Origin, factory: Callable[[], P]) -> P:
        """Look the name up, look at all its addresses, and connect to the first that answers."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(info[4][0]) for info in found)
        if not all(is_public(address, origin.port, self._allowed) for address in addresses):
            raise PermissionError("not a public address")
        context = self.tls() if origin.scheme == "https" else None
        refused: OSError = ConnectionRefusedError("no address")
        for address in addresses:
            try:
                _, protocol = await loop.create_connection(
                    factory,
                    address,
                    origin.port,
                    ssl=context,
                    server_hostname=origin.host if context is not None else None,
                )
            except OSError as error:
                refused = error
            else:
                return protocol
        raise refused


class _Budget:
    """Bytes that the images of one request may still have."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, size: int) -> bool:
        """Take bytes; False when there are not so many."""
        self.left -= size
        return self.left >= 0


class _Image:
    """Receives one image; `ended` is done with it, or with FetchRefused."""

    def __init__(self, url: str, budget: _Budget) -> None:
        self.url = url
        self.call: Call | None = None
        self.ended: asyncio.Future[Media] = asyncio.get_running_loop().create_future()
        self._budget = budget
        self._type = ""
        self._body: list[bytes] = []

    def headers_received(self, status: int, headers: Mapping[str, str]) -> None:
        """Refuse by the head what can be refused by it."""
        self._type = headers.get("content-type", "").partition(";")[0].strip().lower()
        length = headers.get("content-length", "")
        if 300 <= status < 400:
            self._refuse("it redirects elsewhere, which is not followed")
        elif status != 200:
            self._refuse(f"its server answers {status}")
        elif length.isdigit() and int(length) > self._budget.left:
            self._refuse_size()
        elif self._type.startswith("image/") and self._type not in TYPES:
            self._refuse(f"it is of type {self._type[:40]!r}")

    def data_received(self, data: bytes) -> None:
        """Keep bytes, as many as may be."""
        self._body.append(data)
        if not self._budget.spend(len(data)):
            self._refuse_size()

    def finished(self) -> None:
        """Hand the image over."""
        body = b"".join(self._body)
        kind = self._type if self._type in TYPES else _kind_of(body)
        if self.ended.done():
            return
        if not kind:
            self._refuse("it is no image")
        else:
            self.ended.set_result(Media(kind, body))

    def failed(self, error: UpstreamError) -> None:
        """Say why in words that tell nothing about networks."""
        if isinstance(error, UpstreamTimeout):
            self._refuse(f"it takes longer than {LIMIT_S:g} seconds")
        else:
            self._refuse("there is no public server that hands it out")

    def give_up(self) -> None:
        """Leave nothing running, whoever stopped waiting."""
        if self.call is not None:
            self.call.abort()
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()  # another image's refusal was told

    def _refuse_size(self) -> None:
        self._refuse(f"the images of a request may have {MOST_BYTES >> 20} MiB together")

    def _refuse(self, reason: str) -> None:
        if self.call is not None:
            self.call.abort()
        if not self.ended.done():
            self.ended.set_exception(FetchRefused(self.url, reason))


def _kind_of(body: bytes) -> str:
    for sign, at, kind in _SIGNS:
        if body.startswith(sign, at):
            return kind
    return ""
