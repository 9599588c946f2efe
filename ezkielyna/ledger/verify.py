"""Verify: re-compute every balance and every invariant of money from the documents alone.

Documents are compared as sorted streams, so memory is bounded however many there are. A live
gateway changes them meanwhile: what looks wrong is read again, in one transaction where it can
change, and is a fault only if it is wrong then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ezkielyna.contract.money import Bill, Price, usd
from ezkielyna.contract.usage import BUCKETS, Usage
from ezkielyna.storage import audit, prices
from ezkielyna.storage.audit import Row
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database

LISTED = 1000
"""Faults that are kept, more are only counted; suspects that are collected at a time."""

Read = Callable[..., AsyncIterator[Row]]
"""Yields sorted rows of a database: all, or, in a session, those of one key."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A document, or a key that documents share, which breaks an invariant."""

    invariant: str
    document: str
    reason: str


@dataclass(slots=True)
class Verdict:
    """What was found. `checked` counts comparisons by invariant.

    Neither debts of leases nor what payments owe of refunds are faults.
    """

    faults: list[Fault] = field(default_factory=list)
    debts: dict[str, int] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)
    checked: Counter[str] = field(default_factory=Counter)
    fault_count: int = 0

    @property
    def ok(self) -> bool:
        """True when every invariant holds."""
        return not self.fault_count

    def found(self, fault: Fault) -> None:
        """Count a fault, and keep it if there are not too many."""
        self.fault_count += 1
        if len(self.faults) < LISTED:
            self.faults.append(fault)

    def document(self) -> dict[str, Any]:
        """Return what `ledger verify --json` prints; amounts in nano-dollars."""
        return {
            "ok": self.ok,
            "checked": dict(sorted(self.checked.items())),
            "fault_count": self.fault_count,
            "faults": [
                {"invariant": f.invariant, "document": f.document, "reason": f.reason}
                for f in self.faults
            ],
            "debts": self.debts,
            "owed": self.owed,
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """Sums that must be equal, key by key: the first read against the total of the others.

    `lasting` documents never change, once they are in: all suspects are read again at once.
    """

    invariant: str
    collection: str
    expected: Read
    actual: tuple[Read, ...]
    lasting: bool = False

    def all(self, database: Database) -> AsyncIterator[tuple[str, list[Document]]]:
        """Yield every key with the row of each read."""
        return _joined([read(database) for read in (self.expected, *self.actual)])


RULES = (
    Rule("I1", "accounts", audit.booked, (audit.available, audit.held)),
    Rule("I3", "settlement", audit.settled_usage, (audit.settlements,), lasting=True),
    Rule("I4", "batches", audit.batches, (audit.batched_usage,), lasting=True),
    Rule("I6", "usage_sums", audit.used, (audit.unmerged, audit.merged_hours)),
    Rule("I6", "usage_sums", audit.merged_hours_by_day, (audit.merged_days,)),
    Rule("I7", "ledger", audit.payments_entries, (audit.paid_in,)),
)


async def verify(database: Database, *, pause_s: float = 1.0) -> Verdict:
    """Return what is wrong with the money, if anything. `pause_s`: before suspects are read again.

    Raises StorageError.
    """
    verdict = Verdict()
    for rule in RULES:
        await _apply(database, rule, verdict, pause_s)
    await _available(database, verdict)
    await _bills(database, verdict)
    await _payments(database, verdict)
    async for lease, held in audit.overdrawn(database):
        verdict.debts[lease] = held
    return verdict


async def _apply(database: Database, rule: Rule, verdict: Verdict, pause_s: float) -> None:
    suspects: list[str] = []
    async for key, rows in rule.all(database):
        verdict.checked[rule.invariant] += 1
        if not _equal(rows):
            suspects.append(key)
        if len(suspects) == LISTED:
            await _judge(database, rule, suspects, verdict, pause_s)
            suspects.clear()
    await _judge(database, rule, suspects, verdict, pause_s)


async def _judge(
    database: Database, rule: Rule, suspects: list[str], verdict: Verdict, pause_s: float
) -> None:
    if not suspects:
        return
    await asyncio.sleep(pause_s)
    again = _together if rule.lasting else _one_by_one
    async for key, rows in again(database, rule, suspects):
        if not _equal(rows):
            verdict.found(Fault(rule.invariant, f"{rule.collection}/{key}", _difference(rows)))


async def _together(
    database: Database, rule: Rule, suspects: Collection[str]
) -> AsyncIterator[tuple[str, list[Document]]]:
    sought = set(suspects)
    async for key, rows in rule.all(database):
        if key in sought:
            yield key, rows


async def _one_by_one(
    database: Database, rule: Rule, suspects: Collection[str]
) -> AsyncIterator[tuple[str, list[Document]]]:
    for key in suspects:
        yield key, await _again(database, rule, key)


async def _again(database: Database, rule: Rule, key: str) -> list[Document]:
    """Read what belongs to one key as it is in one moment."""

    async def read(session: Session) -> list[Document]:
        rows: list[Document] = []
        for source in (rule.expected, *rule.actual):
            found = [row async for _, row in source(database, key, session)]
            rows.append(found[0] if found else {})
        return rows

    return await database.transaction(read)


async def _joined(reads: list[AsyncIterator[Row]]) -> AsyncIterator[tuple[str, list[Document]]]:
    """Yield every key that one of the sorted streams has, with the row of each, empty for none."""
    heads = [await anext(read, None) for read in reads]
    while any(head is not None for head in heads):
        key = min(head[0] for head in heads if head is not None)
        rows: list[Document] = []
        for position, head in enumerate(heads):
            if head is not None and head[0] == key:
                rows.append(head[1])
                heads[position] = await anext(reads[position], None)
            else:
                rows.append({})
        yield key, rows


def _equal(rows: list[Document]) -> bool:
    expected, actual = _sides(rows)
    return expected == actual


def _sides(rows: list[Document]) -> tuple[Counter[str], Counter[str]]:
    """Return both sides of a rule; a number that is missing is zero."""
    expected: Counter[str] = Counter()
    expected.update(rows[0])
    actual: Counter[str] = Counter()
    for row in rows[1:]:
        actual.update(row)
    return expected, actual


def _difference(rows: list[Document]) -> str:
    expected, actual = _sides(rows)
    names = sorted(set(expected) | set(actual))
    wrong = [name for name in names if expected[name] != actual[name]]
    return ", ".join(f"{n} is {actual[n]} and should be {expected[n]}" for n in wrong)


async def _available(database: Database, verdict: Verdict) -> None:
    async for account, row in audit.available(database):
        verdict.checked["I2"] += 1
        if row["amount"] < 0:
            reason = f"available is {usd(row['amount'])} USD"
            verdict.found(Fault("I2", f"accounts/{account}", reason))


async def _bills(database: Database, verdict: Verdict) -> None:
    known: dict[str, Price | None] = {"": None}
    async for document in audit.usage_documents(database):
        verdict.checked["I5"] += 1
        version = document["price_version"]
        if version not in known:
            known[version] = await prices.find(database, version)
        reason = _wrong_bill(document) or _wrong_price(document, known[version])
        if reason:
            verdict.found(Fault("I5", f"usage/{document['_id']}", reason))
        if document["outcome"] == "open" or document["ended_at"] is None:
            verdict.found(Fault("I4", f"usage/{document['_id']}", "is not final"))


async def _payments(database: Database, verdict: Verdict) -> None:
    async for document in audit.payments(database):
        verdict.checked["I7"] += 1
        if document.get("owed"):
            verdict.owed[document["_id"]] = int(document["owed"])
        if reason := _wrong_payment(document):
            verdict.found(Fault("I7", f"payments/{document['_id']}", reason))


def _wrong_payment(document: Mapping[str, Any]) -> str:
    """Return what is wrong with a payment: what it booked must be what came less what went."""
    booked = sum(int(entry["amount"]) for entry in document["entries"])
    paid = int(document["amount"]) if document["paid_at"] is not None else 0
    refunded = sum(int(refund["amount"]) for refund in document["refunds"]) if paid else 0
    owed = int(document.get("owed", 0))
    if booked != paid - refunded + owed:
        return f"booked {booked} and should have booked {paid - refunded + owed}"
    if not 0 <= owed <= refunded <= paid:
        return f"{paid} were paid, {refunded} refunded, {owed} of it are owed"
    return ""


def _wrong_bill(document: Mapping[str, Any]) -> str:
    """Return what is wrong with a bill: it must follow from its tokens and rates to the nano."""
    lines = document["bill"]
    quantities: Counter[str] = Counter()
    for line in lines:
        quantities[line["bucket"]] += int(line["quantity"])
        if line["quantity"] < 0 or line["rate"] < 0:
            return f"{line['bucket']} is billed less than nothing"
    bill = Bill.of([(line["bucket"], int(line["quantity"]), int(line["rate"])) for line in lines])
    if [line.amount for line in bill.lines] != [int(line["amount"]) for line in lines]:
        return "an amount is not its quantity times its rate"
    if bill.cost != document["cost"]:
        return f"cost is {document['cost']} and should be {bill.cost}"
    for bucket, quantity in quantities.items():
        if quantity != document["tokens"].get(bucket, 0):
            return f"{quantity} {bucket} are billed, {document['tokens'].get(bucket, 0)} were used"
    return ""


def _wrong_price(document: Mapping[str, Any], price: Price | None) -> str:
    """Return what is wrong where a bill names its price: the tokens must cost this at it."""
    version, tokens = document["price_version"], document["tokens"]
    if not version or not document["bill"]:
        return ""
    if price is None:
        return f"its price {version} is not kept"
    used = {str(bucket): int(tokens.get(bucket, 0)) for bucket in BUCKETS}
    cost = price.bill(Usage(**used)).cost  # type: ignore[arg-type] # mypy takes source for one
    if cost != document["cost"]:
        return f"cost is {document['cost']} and should be {cost} at its price {version}"
    return ""
