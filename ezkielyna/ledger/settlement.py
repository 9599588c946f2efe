"""Settlement: ended requests become usage documents, ledger entries and roll-ups. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.record import Attempt, UsageRecord
from ezkielyna.storage.batches import Settlement
from ezkielyna.storage.usage import Hour, Sums, bill_line, cost, instant

MOST_USAGES = 500
"""Usages in one transaction."""

NO_ERRORS = frozenset({"ok", "client_gone", "money_ended"})
"""Outcomes that are no errors of the gateway or of an upstream."""


def settlement(
    process: str,
    n: int,
    records: Sequence[UsageRecord],
    at: float,
    usages: list[dict[str, Any]] | None = None,
) -> Settlement:
    """Return what batch `n` of a process writes for these ended requests; `at` in Unix seconds.

    `usages` are the documents of just these requests, where somebody made them already. Always:
    the costs are the sums of the usage documents, and so are the roll-ups.
    """
    assert len(records) <= MOST_USAGES, len(records)
    costs: dict[str, Nano] = {}
    hours: dict[_HourKey, Sums] = {}
    for record in records:
        if record.bill.cost:
            costs[record.account] = costs.get(record.account, 0) + record.bill.cost
        _roll_up(hours, record)
    if usages is None:
        usages = [document(record, batch_id(process, n)) for record in records]
    rolled_up = [
        Hour(*key[:5], moment(key[5] * 3600), process, sums) for key, sums in hours.items()
    ]
    return Settlement(process, n, moment(at), usages, costs, rolled_up)


def batch_id(process: str, n: int) -> str:
    """Return how a usage document names its batch."""
    return f"{process}:{n}"


def document(record: UsageRecord, batch: str) -> dict[str, Any]:
    """Return the usage document of an ended request, which came with `batch`."""
    assert record.ended_at is not None, record.request_id
    return {
        "_id": record.request_id,
        "batch": batch,
        "account": record.account,
        "key": record.key,
        "model": record.model,
        "provider": record.provider,
        "endpoint": record.endpoint,
        "started_at": instant(record.started_at),
        "first_byte_at": None if record.first_byte_at is None else instant(record.first_byte_at),
        "ended_at": instant(record.ended_at),
        "outcome": record.outcome,
        "status": record.status,
        "tokens": dict(zip(BUCKETS, record.usage.numbers, strict=True)),
        "source": record.usage.source,
        "price_version": record.billed_at,
        "bill": [
            bill_line(line.bucket, line.quantity, line.rate, line.amount)
            for line in record.bill.lines
        ],
        "cost": cost(record.bill.cost),
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "flags": record.flags,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "provider": attempt.provider,
        "upstream_model": attempt.upstream_model,
        "started_at": instant(attempt.started_at),
        "ended_at": instant(attempt.ended_at),
        "status": attempt.status,
        "error": attempt.error,
    }


_HourKey = tuple[str, str, str, str, str, int]
"""Account, key, model, endpoint, outcome, and the hour since 1970."""


def _roll_up(hours: dict[_HourKey, Sums], record: UsageRecord) -> None:
    started, first, ended = record.started_at, record.first_byte_at, record.ended_at
    number = int(started // 3600)
    outcome = record.outcome
    key = (record.account, record.key, record.model, record.endpoint, outcome, number)
    sums = hours.get(key)
    if sums is None:
        sums = hours[key] = Sums()
    sums.requests += 1
    sums.errors += outcome not in NO_ERRORS
    sums.estimated += record.usage.source != "upstream"
    sums.cost += record.bill.cost
    if first is not None:
        sums.first_bytes += 1
        sums.first_byte_ms += max(0, int((first - started) * 1000))
    if ended is not None:
        sums.duration_ms += max(0, int((ended - started) * 1000))
    for bucket, quantity in zip(BUCKETS, record.usage.numbers, strict=True):
        if quantity:
            sums.tokens[bucket] = sums.tokens.get(bucket, 0) + quantity


def moment(seconds: float) -> datetime:
    """Return Unix seconds as an aware date in UTC, in whole milliseconds as BSON keeps them."""
    return datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
