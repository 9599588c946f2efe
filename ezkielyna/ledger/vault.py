"""Where the ledger keeps what must last: the few moves of money that a database makes atomic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from ezkielyna.contract.money import Nano, Price
from ezkielyna.ledger.crash import crash_point
from ezkielyna.storage import batches, leases, prices
from ezkielyna.storage.batches import Settlement
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.database import Database
from ezkielyna.storage.idempotency import close_claims
from ezkielyna.storage.leases import Grant, Stored
from ezkielyna.storage.sessions import Witness, end_sessions


def _forget(session: str) -> None:
    """Note nothing."""


class Vault(ABC):
    """Moves of money. Each happens wholly or not at all, and can be repeated without effect.

    Every method raises StorageAway when the database does not answer; then nobody knows whether
    the move took place, until it is repeated. `note_session` is told the id of every session that
    this vault works in, before its first write; `end_sessions` ends such a session of another.
    """

    note_session: Callable[[str], None] = staticmethod(_forget)

    @abstractmethod
    async def grant(
        self,
        process: str,
        account: str,
        turn: int,
        size: Callable[[Nano], Nano],
        expires_at: datetime,
    ) -> Grant:
        """Move `size(available)` from an account to a lease; raises OutOfTurn."""

    @abstractmethod
    async def hand_back(
        self, process: str, account: str, turn: int, amount: Nano, expires_at: datetime
    ) -> Nano:
        """Move an amount from a lease to its account; what the lease gained. Raises OutOfTurn."""

    @abstractmethod
    async def keep_prices(self, kept: Collection[Price]) -> None:
        """Keep prices for ever; those that are kept already are left alone."""

    @abstractmethod
    async def settle(self, settlement: Settlement) -> bool:
        """Write a batch; False when it is in already. Raises Duplicate for a settled request."""

    @abstractmethod
    async def end_sessions(self, sessions: Collection[str]) -> None:
        """Abort the moves that a dead process did not live to end."""

    @abstractmethod
    async def settled(self, requests: Collection[str]) -> set[str]:
        """Return which of these requests have their usage document."""

    @abstractmethod
    async def close_claims(self, process: str, requests: Sequence[str]) -> dict[str, bytes]:
        """Return the kept ends of requests that a dead process left open; release its claims."""

    @abstractmethod
    async def last_batch(self, process: str) -> int:
        """Return the highest number of a process's batches."""

    @abstractmethod
    async def renew(self, process: str, expires_at: datetime) -> int:
        """Put off the end of a process's leases; return how many it has."""

    @abstractmethod
    async def lease(self, process: str, account: str) -> Stored | None:
        """Return one lease."""

    @abstractmethod
    async def leases_of(self, process: str) -> list[Stored]:
        """Return a process's leases."""

    @abstractmethod
    async def dissolve(self, lease: Stored) -> bool:
        """Give a lease's money back and remove it; False when it changed since it was read."""

    @abstractmethod
    async def expired(self, before: datetime, alive: Collection[str]) -> list[Stored]:
        """Return leases that ended before a time, of processes not known to be alive."""

    @abstractmethod
    async def compact(self, before: datetime) -> None:
        """Merge the processes' roll-ups of hours before a time."""

    @abstractmethod
    async def held_elsewhere(self, process: str, account: str) -> bool:
        """True when another process holds money of the account."""

    @abstractmethod
    async def want(self, account: str, at: datetime) -> None:
        """Ask the holders of an account's money to return what they do not use."""

    @abstractmethod
    async def wanted(self, since: datetime) -> list[str]:
        """Return the accounts whose money was asked for since then."""


class _Witness(Witness):
    """Tells the vault's owner of sessions, and is a crash point between two writes."""

    def __init__(self, note: Callable[[str], None], point: str) -> None:
        self._note = note
        self._point = point

    def began(self, session: str) -> None:
        self._note(session)

    def halfway(self) -> None:
        crash_point(self._point)


class StoredVault(Vault):
    """The vault in MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(
        self,
        process: str,
        account: str,
        turn: int,
        size: Callable[[Nano], Nano],
        expires_at: datetime,
    ) -> Grant:
        """Move money in a transaction over the account and the lease."""
        witness = _Witness(self.note_session, "in_grant")
        return await leases.grant(self._database, process, account, turn, size, expires_at, witness)

    async def hand_back(
        self, process: str, account: str, turn: int, amount: Nano, expires_at: datetime
    ) -> Nano:
        """Move money in a transaction over the lease and the account."""
        witness = _Witness(self.note_session, "in_return")
        return await leases.hand_back(
            self._database, process, account, turn, amount, expires_at, witness
        )

    async def keep_prices(self, kept: Collection[Price]) -> None:
        """Insert those that are not there."""
        await prices.keep(self._database, kept)

    async def settle(self, settlement: Settlement) -> bool:
        """Write a batch in a transaction over what its process owns."""
        witness = _Witness(self.note_session, "in_settlement")
        return await batches.settle(self._database, settlement, witness)

    async def end_sessions(self, sessions: Collection[str]) -> None:
        """Have the server end the sessions."""
        await end_sessions(self._database, sessions)

    async def settled(self, requests: Collection[str]) -> set[str]:
        """Look the usage documents up by their ids."""
        return await batches.settled(self._database, requests)

    async def close_claims(self, process: str, requests: Sequence[str]) -> dict[str, bytes]:
        """Look the ends up by their requests, and the claims by their process."""
        return await close_claims(self._database, process, requests)

    async def last_batch(self, process: str) -> int:
        """Look the last batch up."""
        return await batches.last(self._database, process)

    async def renew(self, process: str, expires_at: datetime) -> int:
        """Update the leases of the process."""
        return await leases.renew(self._database, process, expires_at)

    async def lease(self, process: str, account: str) -> Stored | None:
        """Read the lease."""
        return await leases.read(self._database, process, account)

    async def leases_of(self, process: str) -> list[Stored]:
        """Read the leases of the process."""
        return await leases.of_process(self._database, process)

    async def dissolve(self, lease: Stored) -> bool:
        """Move money and remove the lease in a transaction."""
        witness = _Witness(self.note_session, "in_return")
        return await leases.dissolve(self._database, lease, witness)

    async def expired(self, before: datetime, alive: Collection[str]) -> list[Stored]:
        """Read the leases that ended."""
        return [lease async for lease in leases.expired(self._database, before, alive)]

    async def compact(self, before: datetime) -> None:
        """Merge a few hundred, each in a transaction."""
        await compact(self._database, before)

    async def held_elsewhere(self, process: str, account: str) -> bool:
        """Read one lease of another process."""
        return await leases.held_elsewhere(self._database, process, account)

    async def want(self, account: str, at: datetime) -> None:
        """Mark the account's document."""
        await leases.want(self._database, account, at)

    async def wanted(self, since: datetime) -> list[str]:
        """Read the marked accounts."""
        return await leases.wanted(self._database, since)
