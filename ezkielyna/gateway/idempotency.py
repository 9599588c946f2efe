"""`Idempotency-Key`: the same plain request twice is one request and one charge.

A claim on the key is written before the request is sent on and becomes the answer after it. Only
what a retry would get again is kept: an answer, or the upstream's refusal of the request itself.
Whatever else goes wrong releases the key, so that a retry works.

An answer is kept together with its charge, and charged and sent only then. So whenever a process
dies, either both are kept, and recovery charges what the journal does not know yet; or neither is,
and recovery releases the claim, within seconds and also where no money was reserved yet. A claim
that nobody recovers expires with the time that the request could have taken at most. Requests
without the header know nothing of all this.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Self

import structlog

from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.errors import (
    IdempotencyConflict,
    InvalidRequest,
    Unavailable,
    UpstreamError,
)
from ezkielyna.contract.requests import LARGE_BODY, ApiRequest
from ezkielyna.gateway.reply import Reply
from ezkielyna.ledger.crash import crash_point
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.idempotency import Claims, Kept

log = structlog.stdlib.get_logger("ezkielyna.idempotency")

KEPT_S = 86_400.0
MARGIN_S = 60.0
"""For what a request waits beside its upstream: money, and the database."""

PATIENCE_S = 2.0
"""How long a refusal waits to be kept, or a claim to be released; then it goes on behind."""

PAUSE_S = 0.5
RETRY_S = 1.0
LONGEST_KEY = 255
PARAM = "Idempotency-Key"
REPLAYED = [("idempotent-replayed", "true")]


def check(key: str, request: ApiRequest) -> None:
    """Raise InvalidRequest for a key that cannot be used."""
    if request.streamed:
        raise InvalidRequest(
            f"'{PARAM}' is only for plain requests; leave it out when 'stream' is true.",
            param=PARAM,
        )
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidRequest(f"'{PARAM}' must have 1 to {LONGEST_KEY} characters.", param=PARAM)


class Idempotency:
    """Gives claims on keys, and finishes in the background what the database was too slow for."""

    def __init__(self, claims: Claims, *, now: Callable[[], float] = time.time) -> None:
        self._claims = claims
        self._now = now
        self._writing: set[asyncio.Task[None]] = set()

    def claim(self, ctx: RequestContext, key: str, time_limit_s: float) -> Claim:
        """Return the claim of a request on its account's key; `async with` it."""
        return Claim(self, ctx, key, time_limit_s + MARGIN_S)

    async def take(self, claim: Claim) -> Kept | None:
        """Return None when the key is the claim's now, else the answer of an equal request.

        Raises IdempotencyConflict or Unavailable.
        """
        now = self._now()
        claim.until = now + claim.time_limit_s
        try:
            kept = await self._claims.claim(
                claim.id, claim.request_id, claim.fingerprint, _moment(now), _moment(claim.until)
            )
        except StorageError:
            raise Unavailable(f"'{PARAM}' cannot be looked up now. Try again soon.") from None
        if kept is not None:
            _refuse_conflict(claim, kept)
        return kept

    async def keep(self, claim: Claim, answer: bytes, end: bytes | None) -> None:
        """Make the claim an answer, however long that takes while the claim is ours.

        Raises Unavailable where it is not any more.
        """
        until = _moment(self._now() + KEPT_S)
        while self._now() < claim.until:
            try:
                crash_point("before_kept")
                ours = await self._claims.keep(claim.id, claim.request_id, 200, answer, until, end)
                crash_point("after_kept")
            except StorageError as error:
                log.debug("an idempotent answer waits to be kept", reason=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                if ours:
                    return
                break
        log.warning("an idempotent answer is lost", request_id=claim.request_id)
        raise Unavailable("The answer could not be kept. Try again.")

    async def refuse(self, claim: Claim, status: int, body: bytes) -> None:
        """Make the claim a refusal, which costs nothing."""
        until = _moment(self._now() + KEPT_S)
        await self._surely(
            claim,
            lambda: self._claims.keep(claim.id, claim.request_id, status, body, until, None),
        )

    async def release(self, claim: Claim) -> None:
        """Give the key back."""
        await self._surely(claim, lambda: self._claims.release(claim.id, claim.request_id))

    async def close(self) -> None:
        """Give up what is still to be written, after a last moment."""
        if self._writing:
            await asyncio.wait(tuple(self._writing), timeout=PATIENCE_S)
        for task in tuple(self._writing):
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _surely(self, claim: Claim, write: Callable[[], Awaitable[object]]) -> None:
        """Write, and go on trying without us where it takes long."""
        task = asyncio.get_running_loop().create_task(self._until_expiry(claim, write))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.wait([task], timeout=PATIENCE_S)

    async def _until_expiry(self, claim: Claim, write: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await write()
            except StorageError as error:
                if self._now() > claim.until:
                    return
                log.debug("the end of a claim waits to be written", reason=str(error))
            else:
                return
            await asyncio.sleep(PAUSE_S)


class Claim:
    """One request's claim on a key. Ends as an answer that is kept, or released.

    `kept` is the answer of an equal request that came before; then there is nothing to do but to
    `replay` it.
    """

    __slots__ = (
        "_idempotency",
        "_over",
        "_request",
        "fingerprint",
        "id",
        "kept",
        "request_id",
        "time_limit_s",
        "until",
    )

    def __init__(
        self, idempotency: Idempotency, ctx: RequestContext, key: str, time_limit_s: float
    ) -> None:
        self._idempotency = idempotency
        self._over = False
        self.id = f"{ctx.account.id}:{key}"
        self.request_id = ctx.request_id
        self._request = ctx.request
        self.fingerprint = b""
        self.time_limit_s = time_limit_s
        self.until = 0.0
        self.kept: Kept | None = None

    async def __aenter__(self) -> Self:
        self.fingerprint = await _fingerprint(self._request)
        self.kept = await self._idempotency.take(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if self.kept is not None or self._over:
            return
        if isinstance(error, UpstreamError) and error.status == 400:
            await self._idempotency.refuse(self, 400, error.body())
        else:
            await self._idempotency.release(self)

    async def keep(self, answer: bytes, end: bytes | None) -> None:
        """Keep an answer with what the journal will say of its end; raises Unavailable."""
        await self._idempotency.keep(self, answer, end)
        self._over = True


def replay(reply: Reply, kept: Kept) -> None:
    """Answer what an equal request was answered before."""
    assert kept.body is not None
    reply.add_headers(REPLAYED)
    reply.answer(kept.body, status=kept.status)


async def _fingerprint(request: ApiRequest) -> bytes:
    """Return what equal requests have in common; a large one is hashed in a thread."""
    digest = hashlib.sha256(request.endpoint.encode() + b"\0")
    if len(request.body) <= LARGE_BODY:
        digest.update(request.body)
    else:
        await asyncio.to_thread(digest.update, request.body)
    return digest.digest()


def _refuse_conflict(claim: Claim, kept: Kept) -> None:
    if kept.fingerprint != claim.fingerprint:
        raise IdempotencyConflict(
            f"This '{PARAM}' was used for another request. Send a new key with a new request.",
            param=PARAM,
        )
    if not kept.status:
        raise IdempotencyConflict(
            f"A request with this '{PARAM}' is still running. Try again soon.",
            param=PARAM,
            retry_after_s=RETRY_S,
        )
    if kept.body is None:
        raise IdempotencyConflict(
            f"The request with this '{PARAM}' was answered, and its answer is too large to be "
            "kept. Send a new key to ask again.",
            param=PARAM,
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
