"""A history of requests for pages of usage: settled as the ledger settles, at any time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Source, Usage
from ezkielyna.ledger.record import Attempt, Outcome, UsageRecord
from ezkielyna.ledger.settlement import MOST_USAGES, settlement
from ezkielyna.storage.batches import settle
from ezkielyna.storage.database import Database

_numbers = count(1)


def ended(
    account: str,
    key: str,
    at: datetime,
    *,
    model: str = "gpt-lab",
    cost: Nano = 0,
    usage: Usage | None = None,
    outcome: Outcome = "ok",
    status: int = 200,
    source: Source = "upstream",
) -> UsageRecord:
    """Return the record of a request that has ended; `cost` is a nano-dollar an input token."""
    number, began = next(_numbers), at.timestamp()
    used = usage or Usage(input=cost, source=source)
    record = UsageRecord(
        request_id=f"req_{number:08d}",
        account=account,
        key=key,
        model=model,
        provider="lab",
        endpoint="chat.completions",
        started_at=began,
        price_version="v1",
        first_byte_at=began + 0.25 if outcome == "ok" else None,
        ended_at=began + 1.5,
        outcome=outcome,
        status=status,
        usage=used,
        bill=Bill.of([(bucket, quantity, 1_000_000) for bucket, quantity in used.quantities()]),
    )
    record.attempts.append(Attempt("lab", model, began, began + 1.5, status))
    return record


async def settled(database: Database, records: Sequence[UsageRecord], process: str = "") -> None:
    """Write the documents of these requests, in batches of a process of their own."""
    name = process or f"history-{next(_numbers)}"
    for n, first in enumerate(range(0, len(records), MOST_USAGES), 1):
        part = records[first : first + MOST_USAGES]
        assert await settle(database, settlement(name, n, part, part[0].started_at))


def month(account: str, key: str, now: datetime, seed: int = 1) -> list[UsageRecord]:
    """Return a month as customers have them: models of all sizes, quiet nights, some failures.

    All of it is in the last 30 days of UTC, today included, whatever the time of day.
    """
    rng = random.Random(seed)  # noqa: S311 - a history, no secret
    models = ["gpt-lab", "free-lab", "image-lab", *(f"model-{letter}" for letter in "abcdefgh")]
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=29)
    records: list[UsageRecord] = []
    for days_ago in range(30):
        for _ in range(rng.randrange(2, 14)):
            at = max(begin, now - timedelta(days=days_ago, seconds=rng.randrange(60, 20_000)))
            model = rng.choices(models, [60, 20, 5, 30, 8, 5, 4, 3, 2, 2, 1])[0]
            failed = rng.random() < 0.06
            usage = Usage(
                input=rng.randrange(50_000, 900_000) if not failed else 0,
                cached_input=0 if failed or model == "model-b" else rng.randrange(90_000),
                output=rng.randrange(9000) if not failed else 0,
                reasoning=rng.randrange(400) if model == "gpt-lab" and not failed else 0,
                source="estimated" if model == "model-b" else "upstream",
            )
            outcome: Outcome = "upstream_failed" if failed else "ok"
            status = 502 if failed else 200
            records.append(
                ended(account, key, at, model=model, usage=usage, outcome=outcome, status=status)
            )
    return records
