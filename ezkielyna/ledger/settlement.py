"""Settlement: ended requests become usage documents, ledger entries and roll-ups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.record import Attempt, UsageRecord
from ezkielyna.storage.batches import Settlement
from ezkielyna.storage.usage import Hour, Sums, bill_lines, cost, instant

MOST_USAGES = 500
"""Usages in one transaction."""

NO_ERRORS = frozenset({"ok", "client_gone", "money_ended"})
"""Outcomes that are no errors of the gateway or of an upstream."""


def settlement(
    process: str,
    n: int,
    records: Sequence[UsageRecord],
    at: float,
    usages: Sequence[Mapping[str, Any]] | None = None,
) -> Settlement:
    """Return what batch `n` of a process writes for these ended requests; `at` in Unix seconds.

    `usages` are the documents of just these requests, where somebody made them already. Always:
    the costs are the sums of the usage documents, and so are the roll-ups.
    """
    assert len(records) <= MOST_USAGES, len(records)
    costs: dict[str, Nano] = {}
    hours: list[Hour] = []
    for (account, key, model, endpoint, outcome, hour), ended in _by_hour(records).items():
        sums = _sums(ended)
        begin = moment(hour * 3600)
        hours.append(Hour(account, key, model, endpoint, outcome, begin, process, sums))
        if sums.cost:
            costs[account] = costs.get(account, 0) + sums.cost
    if usages is None:
        batch = batch_id(process, n)
        usages = [usage_document(record, batch) for record in records]
    return Settlement(process, n, moment(at), usages, costs, hours)


def batch_id(process: str, n: int) -> str:
    """Return how a usage document names its batch."""
    return f"{process}:{n}"


def usage_document(record: UsageRecord, batch: str) -> dict[str, Any]:
    """Return the usage document of an ended request, which came with `batch`. Raises MoneyError."""
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
        "bill": bill_lines(record.bill.lines),
        "cost": cost(record.bill.cost),
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "flags": record.flags,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        **attempt._asdict(),
        "started_at": instant(attempt.started_at),
        "ended_at": instant(attempt.ended_at),
    }


_HourKey = tuple[str, str, str, str, str, int]
"""Account, key, model, endpoint, outcome, and the hour since 1970."""


def _by_hour(records: Iterable[UsageRecord]) -> dict[_HourKey, list[UsageRecord]]:
    """Return the requests by the roll-up that they belong to."""
    hours: dict[_HourKey, list[UsageRecord]] = {}
    for record in records:
        hour = int(record.started_at // 3600)
        key = record.account, record.key, record.model, record.endpoint, record.outcome, hour
        ended = hours.get(key)
        if ended is None:
            hours[key] = [record]
        else:
            ended.append(record)
    return hours


def _sums(records: Sequence[UsageRecord]) -> Sums:
    """Return what these requests of one outcome came to: sum by sum, which is quick."""
    first_bytes = [r.first_byte_at - r.started_at for r in records if r.first_byte_at is not None]
    durations = [r.ended_at - r.started_at for r in records if r.ended_at is not None]
    totals = map(sum, zip(*[record.usage.numbers for record in records], strict=True))
    return Sums(
        requests=len(records),
        errors=0 if records[0].outcome in NO_ERRORS else len(records),
        estimated=sum([record.usage.source != "upstream" for record in records]),
        first_bytes=len(first_bytes),
        first_byte_ms=sum([max(0, int(seconds * 1000)) for seconds in first_bytes]),
        duration_ms=sum([max(0, int(seconds * 1000)) for seconds in durations]),
        cost=sum([record.bill.cost for record in records]),
        tokens={bucket: total for bucket, total in zip(BUCKETS, totals, strict=True) if total},
    )


def moment(seconds: float) -> datetime:
    """Return Unix seconds as an aware date in UTC, in whole milliseconds as BSON keeps them."""
    return datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
