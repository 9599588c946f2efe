"""Journal records as bytes: a letter for the kind, then a JSON list. Pure, and fast to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ezkielyna.contract.money import Bill, BillLine, Nano
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.record import Attempt, UsageRecord

VERSION = 1

HEAD, BEGIN, PROGRESS, END, BATCH, ACK, SESSION = b"H", b"B", b"P", b"E", b"T", b"A", b"S"

LONGEST_END = 1024
"""Bytes of an END; the attempts are left out before it gets longer."""


def head(process: str, number: int) -> bytes:
    """Return the first record of a segment."""
    return HEAD + orjson.dumps([VERSION, process, number])


def begin(record: UsageRecord, amount: Nano) -> bytes:
    """Return the record of an accepted request with what it reserved."""
    return BEGIN + orjson.dumps(
        [
            record.request_id,
            record.account,
            record.key,
            record.model,
            record.provider,
            record.endpoint,
            record.started_at,
            record.price_version,
            amount,
        ]
    )


def progress(record: UsageRecord, usage: Usage, bill: Bill, at: float) -> bytes:
    """Return the record of what was delivered so far."""
    return PROGRESS + orjson.dumps(
        [
            record.request_id,
            at,
            record.first_byte_at,
            tuple(usage),
            list(map(tuple, bill.lines)),
            bill.cost,
            bill.version,
        ]
    )


def end(record: UsageRecord) -> bytes:
    """Return the record of an ended request, without its attempts if it were too long with them."""
    whole = whole_end(record)
    return whole if len(whole) <= LONGEST_END else whole_end(record, ())


def whole_end(record: UsageRecord, attempts: Sequence[Attempt] | None = None) -> bytes:
    """Return all that is known of an ended request, with its attempts or these."""
    if attempts is None:
        attempts = record.attempts
    bill = record.bill
    return END + orjson.dumps(
        [
            record.request_id,
            record.provider,
            record.first_byte_at,
            record.ended_at,
            record.outcome,
            record.status,
            tuple(record.usage),
            list(map(tuple, bill.lines)),
            bill.cost,
            list(map(tuple, attempts)),  # orjson refuses named ones
            record.flags,
            bill.version,
        ]
    )


def batch(n: int, at: float, requests: Sequence[str]) -> bytes:
    """Return the record that fixes which requests a batch settles."""
    return BATCH + orjson.dumps([n, at, requests])


def ack(n: int) -> bytes:
    """Return the record that a batch is in."""
    return ACK + orjson.dumps([n])


def session(id_: str) -> bytes:
    """Return the record of a database session that transactions of this process run in."""
    return SESSION + orjson.dumps([id_])


def fields(payload: bytes) -> list[Any]:
    """Return what a record holds behind its kind."""
    decoded: list[Any] = orjson.loads(payload[1:])
    return decoded


def begun(values: list[Any]) -> UsageRecord:
    """Return the record that BEGIN wrote."""
    return UsageRecord(*values[:8])


def progressed(record: UsageRecord, values: list[Any]) -> float:
    """Add what PROGRESS wrote; return when that was."""
    _, at, record.first_byte_at, usage, lines, cost, *version = values
    record.usage, record.bill = _read_usage(usage), _read_bill(lines, cost, *version)
    return float(at)


def ended(record: UsageRecord, values: list[Any]) -> None:
    """Add what END wrote."""
    (
        _,
        record.provider,
        record.first_byte_at,
        record.ended_at,
        record.outcome,
        record.status,
        usage,
        lines,
        cost,
        attempts,
        record.flags,
        *version,
    ) = values
    record.usage, record.bill = _read_usage(usage), _read_bill(lines, cost, *version)
    record.attempts = [Attempt(*attempt) for attempt in attempts]


def whole(begin: bytes, end: bytes) -> UsageRecord:
    """Return the record of which these are BEGIN and END."""
    record = begun(fields(begin))
    ended(record, fields(end))
    return record


def _read_usage(values: list[Any]) -> Usage:
    return Usage(*values)


def _read_bill(lines: list[Any], cost: Nano, version: str = "") -> Bill:
    """Return a bill; journals of earlier releases do not say its version."""
    return Bill(tuple([tuple.__new__(BillLine, line) for line in lines]), cost, version)
