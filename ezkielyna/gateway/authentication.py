"""Key → account, from a cache that knows of every change within seconds.

A key is looked up in the database once; many requests with an unknown key at the same time share
one look-up. All cached keys are checked again every two seconds in one query, so a revoked key or
a suspended account stops everywhere within five. While the database is away the cache goes on, for
ten minutes at most; a key that is not in it is then answered 503, never 401.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from ezkielyna.contract.context import Account, Key
from ezkielyna.contract.errors import AccountSuspended, InvalidApiKey, Unavailable
from ezkielyna.gateway.call import Credential
from ezkielyna.gateway.spending import Spending, Spendings, SpendingStore
from ezkielyna.gateway.suspects import Client, Suspects
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.keyformat import well_formed

log = structlog.stdlib.get_logger("ezkielyna.authentication")

REFRESH_S = 2.0
STALE_S = 600.0
UNUSED_S = 300.0
UNKNOWN_S = 1.0
MAX_CACHED = 100_000
REFRESH_BATCH = 500


class KeyStore(SpendingStore, Protocol):
    """What authentication needs of the storage."""

    async def find(self, key: str) -> tuple[Key, Account] | None:
        """Return the key's and the account's documents; None when there is no such key."""

    async def refresh(self, ids: Iterable[str]) -> Mapping[str, tuple[Key, Account]]:
        """Return those of the keys that still exist, by id."""


@dataclass(slots=True)
class Identity:
    """A key and its account as last seen; times are monotonic seconds.

    `spending` is there for a key with a limit.
    """

    key: Key
    account: Account
    seen: float
    used: float
    spending: Spending | None = None


class Authentication:
    """Answers who asks. `identify` does not wait when the key is cached.

    `process` is the ledger's name for this process.
    """

    def __init__(
        self,
        keys: KeyStore,
        *,
        process: str = "",
        suspects: Suspects | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._suspects = suspects or Suspects()
        self._spendings = Spendings(keys, process, now=now)
        self._clock = clock
        self._now = now
        self._identities: dict[bytes, Identity] = {}
        self._unknown: dict[bytes, float] = {}
        self._finding: dict[bytes, asyncio.Task[Identity | None]] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to check the cached keys again and again."""
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh_for_ever())

    async def close(self) -> None:
        """Stop checking."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    def known(self, credential: Credential | None) -> Identity | None:
        """Return who this is where the cache is sure of it; else `identify` knows, and says why."""
        identity = None if credential is None else self._identities.get(credential.digest)
        if identity is None:
            return None
        now, key = self._clock(), identity.key
        if now - identity.seen > STALE_S or key.revoked or key.expires_at:
            return None
        if identity.account.suspended:
            return None
        identity.used = now
        return identity

    async def identify(
        self, credential: Credential | None, client: Client | None = None
    ) -> Identity:
        """Return who this key belongs to.

        Raises InvalidApiKey when the key is proven bad, RateLimited when this client sent too many
        of them, AccountSuspended, or Unavailable when we cannot tell. A good key that is cached is
        never limited by what others sent.
        """
        if credential is None:
            raise InvalidApiKey(
                "No API key was sent. Send it as 'Authorization: Bearer ez-…'; keys are made in "
                "the console."
            )
        identity = self._identities.get(credential.digest)
        try:
            if identity is None:
                identity = await self._find(credential, client)
            self._check(identity)
        except InvalidApiKey as error:
            raise self._suspects.answer(error, credential.digest, client) from None
        return identity

    def _check(self, identity: Identity) -> None:
        now = self._clock()
        if now - identity.seen > STALE_S:
            raise Unavailable("The key cannot be checked at the moment. Try again soon.")
        identity.used = now
        key = identity.key
        if key.revoked:
            raise InvalidApiKey("This API key was revoked. Make a new one in the console.")
        if key.expires_at and key.expires_at <= self._now():
            raise InvalidApiKey("This API key has expired. Make a new one in the console.")
        if identity.account.suspended:
            raise AccountSuspended("This account is suspended. Ask your operator.")

    async def _find(self, credential: Credential, client: Client | None) -> Identity:
        digest = credential.digest
        if not well_formed(credential.text):
            raise InvalidApiKey(
                "This is no API key of ours: a key starts with 'ez-' and is 49 characters long. "
                "Was it copied in full?"
            )
        if self._clock() - self._unknown.get(digest, -UNKNOWN_S) >= UNKNOWN_S:
            task = self._finding.get(digest)
            if task is None:
                self._suspects.may_look_up(client)
                task = asyncio.get_running_loop().create_task(
                    self._look_up(digest, credential.text)
                )
                self._finding[digest] = task
            identity = await asyncio.shield(task)
            if identity is not None:
                return identity
        raise InvalidApiKey("There is no such API key. Was it deleted, or made elsewhere?")

    async def _look_up(self, digest: bytes, key: str) -> Identity | None:
        try:
            found = await self._keys.find(key)
            spending = None if found is None else await self._spendings.of(found[0])
        except StorageError:
            raise Unavailable("The key cannot be checked at the moment. Try again soon.") from None
        finally:
            del self._finding[digest]
        now = self._clock()
        if found is None:
            if len(self._unknown) >= MAX_CACHED:
                self._unknown.clear()
            self._unknown[digest] = now
            return None
        if len(self._identities) >= MAX_CACHED:
            self._identities.pop(next(iter(self._identities)))
        identity = self._identities[digest] = Identity(*found, now, now, spending)
        return identity

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
            except StorageError as error:
                log.debug("keys could not be checked again", reason=str(error))

    async def refresh(self) -> None:
        """Check every cached key again; drop those that nobody used for a while."""
        started = self._clock()
        for digest, identity in tuple(self._identities.items()):
            if started - identity.used > UNUSED_S:
                del self._identities[digest]
        entries = list(self._identities.items())
        for first in range(0, len(entries), REFRESH_BATCH):
            batch = entries[first : first + REFRESH_BATCH]
            current = await self._keys.refresh([identity.key.id for _, identity in batch])
            await self._spendings.refresh([key for key, _ in current.values()])
            for digest, identity in batch:
                found = current.get(identity.key.id)
                if found is None:
                    self._identities.pop(digest, None)
                    continue
                key, account = found
                # Limiters remember by the objects what a request counts against.
                if identity.key != key:
                    identity.key = key
                if identity.account != account:
                    identity.account = account
                identity.seen = started
