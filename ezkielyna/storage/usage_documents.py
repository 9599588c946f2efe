"""Usage documents as BSON, written straight from records: the one document of every request.

A document of Python objects that the driver encodes would take more than half as long again.
A document says who asked for what and when, how that ended, its tokens by bucket, the bill line by
line, what it cost, and every attempt. Money is always an Int64, a time whole milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from bson.raw_bson import RawBSONDocument

from ezkielyna.contract.money import Bill, checked
from ezkielyna.contract.usage import BUCKETS, Usage

Tried = tuple[str, str, float, float, int, str]
"""One try: provider, upstream model, begin and end in Unix seconds, status, error."""


class Recorded(Protocol):
    """A request that has ended; times in Unix seconds."""

    request_id: str
    account: str
    key: str
    model: str
    provider: str
    endpoint: Any
    started_at: float
    first_byte_at: float | None
    ended_at: float | None
    outcome: Any
    status: int
    usage: Usage
    bill: Bill
    flags: list[str]

    @property
    def billed_at(self) -> str:
        """The version of the price that the bill is made at."""

    @property
    def attempts(self) -> Sequence[Tried]:
        """Every try at an upstream."""


_TEXT, _DOCUMENT, _ARRAY, _DATE, _NULL, _INT32, _INT64 = (
    bytes([kind]) for kind in (0x02, 0x03, 0x04, 0x09, 0x0A, 0x10, 0x12)
)
_END = b"\0"
_length = struct.Struct("<i").pack
_long = struct.Struct("<q").pack


def _name(kind: bytes, name: str) -> bytes:
    return kind + name.encode() + _END


def _text(text: str) -> bytes:
    data = text.encode()
    return _length(len(data) + 1) + data + _END


def _texts(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join([_name(_TEXT, name) + _text(value) for name, value in fields])


def _document(body: bytes) -> bytes:
    return _length(len(body) + 5) + body + _END


def _item(position: int, head: bytes, tail: int) -> bytes:
    """Return the beginning of a document in an array, of which `tail` bytes follow."""
    return _name(_DOCUMENT, str(position)) + _length(len(head) + tail + 4) + head


_ID = _name(_TEXT, "_id")
_STARTED, _ENDED = _name(_DATE, "started_at"), _name(_DATE, "ended_at")
_FIRST, _NOT_FIRST = _name(_DATE, "first_byte_at"), _name(_NULL, "first_byte_at")
_COST, _RATE, _AMOUNT = (_name(_INT64, name) for name in ("cost", "rate", "amount"))
_STATUS = _name(_INT32, "status")
_BILL, _ATTEMPTS, _FLAGS = (_name(_ARRAY, name) for name in ("bill", "attempts", "flags"))
_EMPTY = _document(b"")
_TIMES = f"<{len(_STARTED)}sq{len(_ENDED)}sq"
_times = struct.Struct(_TIMES).pack
_TRIED = struct.Struct(_TIMES + "x")


class _Numbers:
    """How quantities are written: in four bytes each, or in eight where four do not hold them."""

    def __init__(self, kind: bytes, code: str) -> None:
        names = [_name(kind, bucket) for bucket in BUCKETS]
        tokens = struct.Struct("<" + "".join(f"{len(name)}s{code}" for name in names) + "x")
        self.head = _name(_DOCUMENT, "tokens") + _length(tokens.size + 4)
        self.named: list[Any] = [part for name in names for part in (name, 0)]
        self.tokens = tokens.pack
        self.quantity = _name(kind, "quantity")
        self.line = struct.Struct(f"<{len(self.quantity)}s{code}{len(_AMOUNT)}sqx")


_SHORT, _WIDE = _Numbers(_INT32, "i"), _Numbers(_INT64, "q")


class UsageDocuments:
    """Writes the usage documents of one batch; what they have in common is written once."""

    def __init__(self, batch: str) -> None:
        self._batch = batch
        self._parts: dict[tuple[Any, ...], bytes] = {}

    def write(self, record: Recorded) -> RawBSONDocument:
        """Return the usage document of an ended request. Raises MoneyError."""
        try:
            return RawBSONDocument(self._document(record, _SHORT))
        except struct.error:
            return RawBSONDocument(self._document(record, _WIDE))

    def _document(self, record: Recorded, numbers: _Numbers) -> bytes:
        assert record.ended_at is not None, record.request_id
        first, flags = record.first_byte_at, record.flags
        tokens = numbers.named[:]
        tokens[1::2] = record.usage[:8]
        parts = (
            _ID,
            _text(record.request_id),
            self._whose(record),
            _times(
                _STARTED, round(record.started_at * 1000), _ENDED, round(record.ended_at * 1000)
            ),
            _NOT_FIRST if first is None else _FIRST + _long(round(first * 1000)),
            self._how(record),
            numbers.head,
            numbers.tokens(*tokens),
            _BILL,
            self._bill(record.bill, numbers),
            _COST,
            _long(checked(record.bill.cost)),
            _ATTEMPTS,
            self._attempts(record.attempts),
            _FLAGS,
            _document(_texts((str(n), flag) for n, flag in enumerate(flags))) if flags else _EMPTY,
        )
        return _document(b"".join(parts))

    def _whose(self, record: Recorded) -> bytes:
        values = record.account, record.key, record.model, record.provider, record.endpoint
        written = self._parts.get(values)
        if written is None:
            names = ("batch", "account", "key", "model", "provider", "endpoint")
            written = _texts(zip(names, (self._batch, *values), strict=True))
            self._parts[values] = written
        return written

    def _how(self, record: Recorded) -> bytes:
        values = record.outcome, record.usage.source, record.billed_at, record.status
        written = self._parts.get(values)
        if written is None:
            names = ("outcome", "source", "price_version")
            written = _texts(zip(names, values[:3], strict=True)) + _STATUS + _length(values[3])
            self._parts[values] = written
        return written

    def _bill(self, bill: Bill, numbers: _Numbers) -> bytes:
        body = b""
        for position, (bucket, quantity, rate, amount) in enumerate(bill.lines):
            values = numbers, position, bucket, rate
            head = self._parts.get(values)
            if head is None:
                head = _texts([("bucket", bucket)]) + _RATE + _long(rate)
                head = self._parts[values] = _item(position, head, numbers.line.size)
            body += head + numbers.line.pack(numbers.quantity, quantity, _AMOUNT, amount)
        return _document(body)

    def _attempts(self, attempts: Iterable[Tried]) -> bytes:
        body = b""
        for position, (provider, model, started, ended, status, error) in enumerate(attempts):
            values = position, provider, model, status, error
            head = self._parts.get(values)
            if head is None:
                names = (("provider", provider), ("upstream_model", model), ("error", error))
                head = _texts(names) + _STATUS + _length(status)
                head = self._parts[values] = _item(position, head, _TRIED.size)
            body += head + _TRIED.pack(_STARTED, round(started * 1000), _ENDED, round(ended * 1000))
        return _document(body)
