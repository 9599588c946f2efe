"""For tests of money: funded accounts, requests that end, a vault in memory that loses replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from bson.int64 import Int64

from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import Bill, Nano, Price
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.books import Reservation
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.vault import Vault
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.batches import Settlement
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import UNKNOWN_COMMIT, Duplicate, StorageAway
from ezkielyna.storage.leases import Grant, OutOfTurn, Stored, lease_id

T = TypeVar("T")

MONEY = ("accounts", "leases", "ledger", "batches", "usage", "usage_hourly", "usage_sums")
"""The collections that money is in."""


async def funded(database: Database, name: str, amount: Nano) -> str:
    """Create an account with a credit and return its id, which is the name."""
    now = datetime.now(UTC)
    await database["accounts"].insert_one(
        {
            "_id": name,
            "email": f"{name}@example.com",
            "status": "active",
            "plan": "default",
            "available": Int64(0),
            "verified": True,
            "created_at": now,
        }
    )
    await credit(database, name, amount, reference=f"first-{name}", by="test")
    return name


async def balance(database: Database, account: str) -> Nano:
    """Return what an account has, free and leased."""
    return (await Accounts(database).by_id(account)).balance


def accepted(account: str, request: str, at: float | None = None) -> UsageRecord:
    """Return the record of a request that was just accepted."""
    return UsageRecord(
        request_id=request,
        account=account,
        key="key_1",
        model="fast",
        provider="lab",
        endpoint="chat.completions",
        started_at=time.time() if at is None else at,
        price_version="v1",
    )


def priced(cost: Nano) -> tuple[Usage, Bill]:
    """Return usage whose bill is exactly `cost`: a nano-dollar a token."""
    return Usage(input=cost), Bill.of([("input", cost, 1_000_000)])


def end(reservation: Reservation, cost: Nano, at: float | None = None) -> None:
    """End a request well, at this cost."""
    record = reservation.record
    record.usage, record.bill = priced(cost)
    record.outcome, record.status = "ok", 200
    record.ended_at = time.time() if at is None else at
    reservation.settle()


async def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return every document that money is in, to compare before and after."""
    return {
        name: [found async for found in database[name].find({}, sort=[("_id", 1)])]
        for name in MONEY
    }


@dataclass
class MemoryVault(Vault):
    """A vault in memory with the same promises, which can be away and lose replies.

    `lose` counts the next writes that take place and are answered by nothing but an error, `lost`
    those that were.
    """

    available: dict[str, Nano] = field(default_factory=dict)
    leases: dict[str, Stored] = field(default_factory=dict)
    moves: dict[str, Nano] = field(default_factory=dict)
    entries: dict[str, tuple[str, Nano]] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    usage: dict[str, Nano] = field(default_factory=dict)
    marks: dict[str, datetime] = field(default_factory=dict)
    away: bool = False
    lose: int = 0
    lost: int = 0

    def post(self, entry: str, account: str, amount: Nano) -> None:
        """Book money that comes in or goes out; raises InsufficientBalance."""
        if entry in self.entries:
            return
        left = self.available.get(account, 0) + amount
        if left < 0:
            raise InsufficientBalance("not so much")
        self.available[account] = left
        self.entries[entry] = account, amount

    async def grant(
        self,
        process: str,
        account: str,
        turn: int,
        size: Callable[[Nano], Nano],
        expires_at: datetime,
    ) -> Grant:
        """Move money to a lease."""
        self._reach()
        if self._turned(process, account, turn):
            return Grant(self.moves[lease_id(process, account)], 0)
        available = self.available.get(account, 0)
        amount = size(available)
        assert 0 <= amount <= available
        if amount:
            self._move(process, account, turn, amount, expires_at)
        return self._answer(Grant(amount, available - amount), amount > 0)

    async def hand_back(
        self, process: str, account: str, turn: int, amount: Nano, expires_at: datetime
    ) -> Nano:
        """Move money from a lease."""
        self._reach()
        if self._turned(process, account, turn):
            return self.moves[lease_id(process, account)]
        self._move(process, account, turn, -amount, expires_at)
        return self._answer(-amount)

    def _turned(self, process: str, account: str, turn: int) -> bool:
        stored = self.leases.get(lease_id(process, account))
        if (stored.turn if stored else 0) == turn:
            return False
        if stored is None or stored.turn != turn + 1:
            raise OutOfTurn(stored)
        return True

    def _move(
        self, process: str, account: str, turn: int, amount: Nano, expires_at: datetime
    ) -> None:
        id_ = lease_id(process, account)
        held = self.leases[id_].held if id_ in self.leases else 0
        self.leases[id_] = Stored(id_, process, account, held + amount, turn + 1, expires_at)
        self.moves[id_] = amount
        self.available[account] = self.available.get(account, 0) - amount

    async def keep_prices(self, kept: Collection[Price]) -> None:
        """Do nothing: nobody verifies the bills of this vault."""
        self._reach()

    async def settle(self, settlement: Settlement) -> bool:
        """Write a batch."""
        self._reach()
        if settlement.id in self.batches:
            return False
        if any(usage["_id"] in self.usage for usage in settlement.usages):
            raise Duplicate("settled")
        self.batches[settlement.id] = settlement.n
        self.usage |= {usage["_id"]: int(usage["cost"]) for usage in settlement.usages}
        for account, cost in settlement.costs.items():
            self.entries[f"settlement:{settlement.id}:{account}"] = account, -cost
            id_ = lease_id(settlement.process, account)
            old = self.leases.get(id_) or Stored(
                id_, settlement.process, account, 0, 0, settlement.at
            )
            self.leases[id_] = replace(old, held=old.held - cost)
        return self._answer(True)

    async def end_sessions(self, sessions: Collection[str]) -> None:
        """Do nothing: no move of this vault is ever half done."""

    async def settled(self, requests: Collection[str]) -> set[str]:
        """Look the usage up."""
        self._reach()
        return {request for request in requests if request in self.usage}

    async def close_claims(self, process: str, requests: Sequence[str]) -> dict[str, bytes]:
        """Find nothing: no request of this vault's has a key of its own."""
        self._reach()
        return {}

    async def last_batch(self, process: str) -> int:
        """Look the last batch up."""
        self._reach()
        mine = (n for id_, n in self.batches.items() if id_.startswith(f"{process}:"))
        return max(mine, default=0)

    async def renew(self, process: str, expires_at: datetime) -> int:
        """Renew the leases."""
        self._reach()
        mine = [lease for lease in self.leases.values() if lease.process == process]
        for lease in mine:
            self.leases[lease.id] = replace(lease, expires_at=expires_at)
        return self._answer(len(mine))

    async def lease(self, process: str, account: str) -> Stored | None:
        """Read a lease."""
        self._reach()
        return self.leases.get(lease_id(process, account))

    async def leases_of(self, process: str) -> list[Stored]:
        """Read leases."""
        self._reach()
        return [lease for lease in self.leases.values() if lease.process == process]

    async def dissolve(self, lease: Stored) -> bool:
        """Give a lease back."""
        self._reach()
        stored = self.leases.get(lease.id)
        if stored is None:
            return True
        left = self.available.get(lease.account, 0) + stored.held
        if (stored.turn, stored.expires_at) != (lease.turn, lease.expires_at) or left < 0:
            return False
        del self.leases[lease.id]
        self.available[lease.account] = left
        return self._answer(True)

    async def expired(self, before: datetime, alive: Collection[str]) -> list[Stored]:
        """Read leases that ended."""
        self._reach()
        ended = [lease for lease in self.leases.values() if lease.expires_at < before]
        return [lease for lease in ended if lease.process not in alive]

    async def compact(self, before: datetime) -> None:
        """Do nothing: this vault has no roll-ups."""

    async def held_elsewhere(self, process: str, account: str) -> bool:
        """Look at the leases of others."""
        self._reach()
        others = [lease for lease in self.leases.values() if lease.process != process]
        return any(lease.account == account and lease.held > 0 for lease in others)

    async def want(self, account: str, at: datetime) -> None:
        """Mark an account."""
        self._reach()
        self.marks[account] = at

    async def wanted(self, since: datetime) -> list[str]:
        """Read the marks."""
        self._reach()
        return [account for account, at in self.marks.items() if at >= since]

    def _reach(self) -> None:
        if self.away:
            raise StorageAway("the database cannot be reached")

    def _answer(self, answer: T, written: bool = True) -> T:
        if written and self.lose:
            self.lose -= 1
            self.lost += 1
            raise StorageAway("the reply was lost", labels=frozenset({UNKNOWN_COMMIT}))
        return answer
