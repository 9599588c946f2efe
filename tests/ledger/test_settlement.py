"""What a batch writes: usage documents as readers know them, and roll-ups that are their sums."""

from __future__ import annotations

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from hypothesis import given, settings
from hypothesis import strategies as st

from ezkielyna.contract.money import Bill
from ezkielyna.contract.usage import BUCKETS, Usage
from ezkielyna.ledger.record import Attempt, UsageRecord
from ezkielyna.ledger.settlement import NO_ERRORS, settlement, usage_document

MILLISECONDS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
TIMES = st.floats(1_700_000_000, 1_700_020_000)
QUANTITIES = st.one_of(st.just(0), st.integers(1, 5000), st.integers(2**31 - 2, 2**40))
ATTEMPTS = st.builds(Attempt, TEXTS, TEXTS, TIMES, TIMES, st.integers(0, 599), TEXTS)


@st.composite
def ended(draw: st.DrawFn) -> UsageRecord:
    """Draw a request that has ended."""
    usage = Usage(
        *draw(st.lists(QUANTITIES, min_size=8, max_size=8)),
        source=draw(st.sampled_from(["upstream", "counted", "estimated"])),
    )
    rates = draw(st.lists(st.integers(0, 10**5), min_size=8, max_size=8))
    items = [(b, n, rate) for (b, n), rate in zip(usage.quantities(), rates, strict=True)]
    return UsageRecord(
        request_id=draw(TEXTS),
        account=draw(st.sampled_from(["ann", "bob"])),
        key=draw(st.sampled_from(["key_1", "Schlüssel"])),
        model=draw(st.sampled_from(["fast", "a model:with/all"])),
        provider="lab",
        endpoint="chat.completions",
        started_at=draw(TIMES),
        price_version="v1",
        first_byte_at=draw(st.none() | TIMES),
        ended_at=draw(TIMES),
        outcome=draw(st.sampled_from(["ok", "client_gone", "upstream_failed"])),
        status=draw(st.sampled_from([0, 200, 502])),
        usage=usage,
        bill=Bill.of(items, draw(st.sampled_from(["v1", "v2"]))),
        attempts=draw(st.lists(ATTEMPTS, max_size=12)),
        flags=draw(st.lists(TEXTS, max_size=2)),
    )


def instant(seconds: float) -> DatetimeMS:
    return DatetimeMS(round(seconds * 1000))


def expected(record: UsageRecord, batch: str) -> dict[str, Any]:
    """Return the usage document as `money.md` and every reader have it."""
    assert record.ended_at is not None
    first = record.first_byte_at
    return {
        "_id": record.request_id,
        "batch": batch,
        "account": record.account,
        "key": record.key,
        "model": record.model,
        "provider": record.provider,
        "endpoint": record.endpoint,
        "started_at": instant(record.started_at),
        "first_byte_at": None if first is None else instant(first),
        "ended_at": instant(record.ended_at),
        "outcome": record.outcome,
        "status": record.status,
        "tokens": dict(record.usage.quantities()),
        "source": record.usage.source,
        "price_version": record.billed_at,
        "bill": [line._asdict() for line in record.bill.lines],
        "cost": record.bill.cost,
        "attempts": [
            {
                **attempt._asdict(),
                "started_at": instant(attempt.started_at),
                "ended_at": instant(attempt.ended_at),
            }
            for attempt in record.attempts
        ],
        "flags": record.flags,
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(ended(), min_size=1, max_size=4))
def test_usage_documents_say_what_happened(records: list[UsageRecord]) -> None:
    for record in records:
        found = bson.decode(bson.encode(usage_document(record, "p:7")), MILLISECONDS)
        assert found == expected(record, "p:7")
        money = [found["cost"]] + [
            line[name] for line in found["bill"] for name in ("rate", "amount")
        ]
        assert {type(amount) for amount in money} == {Int64}


@settings(max_examples=40, deadline=None)
@given(st.lists(ended(), max_size=8))
def test_costs_and_roll_ups_are_the_sums_of_the_usage(records: list[UsageRecord]) -> None:
    plan = settlement("p", 7, records, 1_700_000_100.0)
    for account in ("ann", "bob"):
        cost = sum(record.bill.cost for record in records if record.account == account)
        assert plan.costs.get(account, 0) == cost
    for hour in plan.hours:
        begin = hour.hour.timestamp()
        mine = [
            record
            for record in records
            if begin <= record.started_at < begin + 3600
            and (record.account, record.key, record.model) == (hour.account, hour.key, hour.model)
            and record.outcome == hour.outcome
        ]
        sums = hour.sums
        assert sums.requests == len(mine) > 0
        assert sums.errors == (0 if hour.outcome in NO_ERRORS else len(mine))
        assert sums.estimated == sum(record.usage.source != "upstream" for record in mine)
        assert sums.cost == sum(record.bill.cost for record in mine)
        assert sums.first_bytes == sum(record.first_byte_at is not None for record in mine)
        for position, bucket in enumerate(BUCKETS):
            assert sums.tokens.get(bucket, 0) == sum(record.usage[position] for record in mine)
    assert sum(hour.sums.requests for hour in plan.hours) == len(records)
