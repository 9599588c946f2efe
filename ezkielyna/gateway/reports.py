"""What the API tells of an account: this key and its money, and usage in JSON and CSV.

These read the database, which no other request of the API does; so few run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from ezkielyna.contract.context import Plan
from ezkielyna.contract.errors import InvalidRequest, Unavailable
from ezkielyna.contract.limits import Limits, account_limits, key_limits
from ezkielyna.contract.money import usd_json
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.gateway.authentication import Identity
from ezkielyna.gateway.call import Call
from ezkielyna.gateway.reply import header_lines
from ezkielyna.ledger.periods import moments, requested
from ezkielyna.ledger.report import csv_of
from ezkielyna.ledger.series import Series, latency
from ezkielyna.ledger.statistics import Spend, spending, usage_series
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.usage import DIMENSIONS, Dimension, Sums, requests

log = structlog.stdlib.get_logger("ezkielyna.gateway")

MOST_AT_ONCE = 4
GROUPS: dict[str, Dimension] = {**{name: name for name in DIMENSIONS}, "status": "outcome"}
FORMATS = ("json", "csv")


class Reports:
    """Answers `GET /key` and `GET /usage`."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._keys = keys
        self._now = now
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def key(self, call: Call, identity: Identity, plan: Plan) -> None:
        """Show the key, its account's balance, and what both spent."""
        now = self._now()
        async with _turn(self._turns):
            account = await Accounts(self._database).by_id(identity.account.id)
            spent = await spending(self._database, account.id, now)
            limit = identity.key.limit
            of_key = {} if limit is None else await self._keys.spent(account.id, [identity.key.id])
        key = identity.key
        document = {
            "object": "key",
            "id": key.id,
            "name": key.name,
            "models": list(key.models or plan.models),
            "expires_at": int(key.expires_at) or None,
            "currency": "USD",
            "balance": usd_json(account.balance),
            "spend": _spend(spent.account),
            "key_spend": _spend(spent.keys.get(key.id, Spend())),
            "limits": {
                **_limits(account_limits(plan, identity.account)),
                "spend": None if limit is None else usd_json(limit),
                "spent": None if limit is None else usd_json(of_key.get(key.id, 0)),
            },
            "key_limits": _limits(key_limits(plan, key)),
            "account": {"email": account.email, "plan": plan.name},
        }
        call.reply.answer(orjson.dumps(document))

    async def usage(self, call: Call, identity: Identity) -> None:
        """Show usage of the whole account in a range: added up, or request by request."""
        asked = call.argument("format") or "json"
        if asked not in FORMATS:
            raise InvalidRequest("'format' must be json or csv.", param="format")
        if asked == "csv":
            await self._csv(call, identity.account.id)
        else:
            await self._json(call, identity.account.id)

    async def _json(self, call: Call, account: str) -> None:
        group = call.argument("group")
        if group is not None and group not in GROUPS:
            raise InvalidRequest(f"'group' must be {', '.join(GROUPS)}.", param="group")
        since, until, unit = (call.argument(name) for name in ("from", "to", "unit"))
        period = requested(since, until, unit, self._now())
        by = GROUPS[group or "endpoint"]
        async with _turn(self._turns):
            found = await usage_series(self._database, account, by, period)
            names = await self._key_names(account) if group == "key" else {}
        document = {
            "object": "usage",
            "from": _time(period.since),
            "to": _time(period.until),
            "unit": period.unit,
            "group": group,
            "currency": "USD",
            "data": list(_rows(found, group, names)),
            "total": _numbers(found.whole.total),
        }
        call.reply.answer(orjson.dumps(document))

    async def _key_names(self, account: str) -> dict[str, str]:
        return {key.id: key.name for key in await self._keys.list(account)}

    async def _csv(self, call: Call, account: str) -> None:
        since, until = moments(call.argument("from"), call.argument("to"), self._now())
        pieces = csv_of(requests(self._database, account, since, until))
        async with _turn(self._turns):
            first = await anext(pieces)
        name = f"usage-{since:%Y-%m-%d}-{until:%Y-%m-%d}.csv"
        headers = (
            ("Content-Type", "text/csv; charset=utf-8; header=present"),
            ("Content-Disposition", f'attachment; filename="{name}"'),
            ("Cache-Control", "no-store"),
        )
        bodiless = call.head.method == "HEAD"
        call.reply.begin(b"" if bodiless else first.encode(), header_lines(headers))
        try:
            if not bodiless:
                await _push(pieces, call)
        except StorageError as error:
            # Half a file must not look like a whole one: the answer is cut, not ended.
            log.info("a CSV export was cut", request_id=call.reply.request_id, reason=str(error))
            call.reply.abandon()
        else:
            call.reply.finish()


def _rows(found: Series, group: str | None, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield a row for every bar and, in groups, for every value that was used in the range."""
    for position, bucket in enumerate(found.buckets):
        bar: dict[str, Any] = {"start": _time(bucket.start), "end": _time(bucket.end)}
        if group is None:
            yield bar | _numbers(found.whole.buckets[position])
            continue
        for line in found.lines:
            row = {**bar, group: line.value}
            if group == "key":
                row["key_name"] = names.get(line.value)
            yield row | _numbers(line.buckets[position])


def _numbers(sums: Sums) -> dict[str, Any]:
    duration = round(sums.duration_ms / sums.requests) if sums.requests else None
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "cost": usd_json(sums.cost),
        "tokens": {bucket: sums.tokens.get(bucket, 0) for bucket in BUCKETS},
        "estimated_requests": sums.estimated,
        "first_byte_ms": latency(sums),
        "duration_ms": duration,
    }


def _limits(limits: Limits) -> dict[str, int | None]:
    return {
        "requests_per_minute": limits.rpm or None,
        "tokens_per_minute": limits.tpm or None,
        "tokens_per_day": limits.tpd or None,
        "concurrency": limits.concurrency or None,
    }


def _spend(found: Spend) -> dict[str, Any]:
    return {
        "today": usd_json(found.today),
        "7d": usd_json(found.week),
        "30d": usd_json(found.month),
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _push(pieces: AsyncIterator[str], call: Call) -> None:
    """Send the rest of a file as fast as the client takes it; stop when nobody does."""
    async for piece in pieces:
        if not await call.reply.send(piece.encode()):
            return


@asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    """Wait for a turn at the database; raises Unavailable where it does not answer."""
    async with turns:
        try:
            yield
        except StorageError:
            raise Unavailable("Usage cannot be read at the moment. Try again soon.") from None
