"""How long the console's pages of usage take over a month of a million requests.

```
.venv/bin/python -m benchmarks.pages                           # the embedded database
.venv/bin/python -m benchmarks.pages --storage mongodb://…     # a database of its own there
```

One account has five keys and eight models, and used all of them in every hour of 30 days. The
roll-ups are those of a million requests; `--documents` says how many usage documents there are as
well, which only the lists of requests read. Pages are asked for one after the other.

"Own CPU" is the least that this process used for an answer, the asking included: the least, because
CPU time, too, grows on a busy machine. The rest of the time went to the database, which is another
process, or to waiting for a core. Commands and documents are what a page asks of the database and
what comes back, the least again: other work of the gateway sends some as well.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any

import uvloop
from bson.int64 import Int64
from pymongo import monitoring
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from benchmarks.inside import SECRET, served
from ezkielyna.contract.money import nano
from ezkielyna.ledger.periods import tomorrow
from ezkielyna.settings import load
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.storage.database import Database
from ezkielyna.storage.embedded import EMBEDDED, open_storage
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.merged import Merged
from ezkielyna.storage.usage import COUNTS, Dimension, Hour, Sums

REQUESTS = 1_000_000
DAYS = 30
KEYS = 5
MODELS = 8
EACH = REQUESTS // (DAYS * 24 * KEYS * MODELS)
UNMERGED_HOURS = 2
PROCESSES = ("p1", "p2")
ENDPOINT, OUTCOME = "chat.completions", "ok"
BY: tuple[Dimension, ...] = ("key", "model", "endpoint", "outcome")
HOUR = timedelta(hours=1)
BATCH = 500

TARGETS = (
    ("/overview", "page", 100),
    ("/usage", "page", 100),
    ("/usage?group=key&metric=tokens", "page", 100),
    ("/usage?range=24h", "page", 100),
    ("/activity", "page", 100),
    ("/api/v1/usage", "JSON", 150),
    ("/api/v1/usage?group=model", "JSON", 150),
    ("/api/v1/key", "JSON", 150),
)
"""What is asked for, and the goal for its 95th percentile in ms, on MongoDB-class storage."""


def sums() -> Sums:
    """Return what one key used of one model in one hour."""
    return Sums(
        requests=EACH,
        errors=EACH // 20,
        first_bytes=EACH,
        first_byte_ms=EACH * 300,
        duration_ms=EACH * 2000,
        cost=EACH * 1_234_567,
        tokens={"input": EACH * 900, "cached_input": EACH * 100, "output": EACH * 300},
    )


async def fill(database: Database, account: str, key_ids: list[str], documents: int) -> None:
    """Write the roll-ups of the month: old hours merged, the last ones as two workers have them."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    begin = tomorrow(end) - timedelta(days=DAYS)
    merged: dict[str, Merged] = {}
    writes: list[dict[str, Any]] = []
    for number in range((end - begin) // HOUR):
        hour = begin + number * HOUR
        for key in key_ids:
            for model in (f"model-{n}" for n in range(MODELS)):
                if hour >= end - UNMERGED_HOURS * HOUR:
                    writes += [_own(account, key, model, hour, process) for process in PROCESSES]
                else:
                    _merge(merged, account, (key, model, ENDPOINT, OUTCOME), hour)
    await _insert(database, "usage_hourly", writes)
    sums = chain.from_iterable(one.documents() for one in merged.values())
    await _insert(database, "usage_sums", sums)
    await _insert(database, "usage", (_document(account, key_ids, n) for n in range(documents)))


async def _insert(database: Database, collection: str, documents: Iterable[dict[str, Any]]) -> None:
    left = iter(documents)
    while batch := list(islice(left, BATCH)):
        await database[collection].insert_many(batch, ordered=False)


def _own(account: str, key: str, model: str, hour: datetime, process: str) -> dict[str, Any]:
    """Return the document of an hour as a process has it."""
    one = Hour(account, key, model, ENDPOINT, OUTCOME, hour, process, sums())
    counts = {name: Int64(getattr(one.sums, name)) for name in COUNTS}
    return {
        "_id": one.id,
        "account": account,
        "key": key,
        "model": model,
        "endpoint": ENDPOINT,
        "outcome": OUTCOME,
        "hour": hour,
        "process": process,
        "tokens": {bucket: Int64(n) for bucket, n in one.sums.tokens.items()},
        **counts,
    }


def _merge(merged: dict[str, Merged], account: str, values: Sequence[str], hour: datetime) -> None:
    """Add an hour to the roll-ups that it is merged into; `values` are those of `BY`."""
    for by, value in zip(BY, values, strict=True):
        for one in (
            Merged(account, by, "hour", hour),
            Merged(account, by, "day", hour.replace(hour=0)),
        ):
            merged.setdefault(one.id, one).add(value, sums())


def _document(account: str, key_ids: list[str], n: int) -> dict[str, Any]:
    """Return the n-th last of a million requests in a month."""
    at = datetime.now(UTC) - timedelta(days=DAYS) * (n + 1) / REQUESTS
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    return {
        "_id": f"req_{n:012d}",
        "batch": f"p1:{n // 200}",
        "account": account,
        "key": key_ids[n % len(key_ids)],
        "model": f"model-{n % MODELS}",
        "provider": "lab",
        "endpoint": ENDPOINT,
        "started_at": at,
        "first_byte_at": at + timedelta(milliseconds=300),
        "ended_at": at + timedelta(seconds=2),
        "outcome": OUTCOME,
        "status": 200,
        "tokens": {"input": 900, "output": 300},
        "source": "upstream",
        "price_version": "v1",
        "bill": [],
        "cost": Int64(1_234_567),
        "attempts": [],
        "flags": [],
    }


async def ask(port: int, path: str, header: str) -> tuple[float, int]:
    """Return how many ms an answer took to its last byte, and how large it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        began = time.perf_counter()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n{header}\r\n\r\n".encode()
        )
        answer = await reader.read(-1)
        took = (time.perf_counter() - began) * 1000
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"{path}: {answer[:80]!r}")
    return took, len(answer)


class Asked(CommandListener):
    """Counts what is sent to the database, and the documents that come back."""

    def __init__(self) -> None:
        self.commands = 0
        self.documents = 0

    def started(self, event: CommandStartedEvent) -> None:
        """Count a command."""
        self.commands += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Count what it returned."""
        cursor = event.reply.get("cursor", {})
        self.documents += len(cursor.get("firstBatch", cursor.get("nextBatch", ())))

    def failed(self, event: CommandFailedEvent) -> None:
        """Leave it at that."""


async def measure(port: int, cookie: str, key: str, rounds: int, asked: Asked) -> None:
    """Print a line of the table for every target."""
    print(f"| {'what':<32} | goal p95 ms | p50 ms | p95 ms | least ms | own CPU ms | ", end="")
    print("commands | documents | KiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path, kind, goal in TARGETS:
        header = f"Cookie: ezkielyna-session={cookie}" if kind == "page" else f"x-api-key: {key}"
        await ask(port, path, header)
        found: list[tuple[float, int]] = []
        cpu = commands = documents = math.inf
        for _ in range(rounds):
            began, before = time.process_time(), (asked.commands, asked.documents)
            found.append(await ask(port, path, header))
            cpu = min(cpu, (time.process_time() - began) * 1000)
            commands = min(commands, asked.commands - before[0])
            documents = min(documents, asked.documents - before[1])
        times = sorted(took for took, _ in found)
        p95 = times[max(0, -(-len(times) * 95 // 100) - 1)]
        size = found[0][1] / 1024
        p50 = statistics.median(times)
        print(f"| {path:<32} | {goal} | {p50:.0f} | {p95:.0f} | {times[0]:.0f} | ", end="")
        print(f"{cpu:.0f} | {commands} | {documents} | {size:.0f} |")


async def run(storage: str, documents: int, rounds: int) -> None:
    """Fill a database, serve it, and measure."""
    asked = Asked()
    monitoring.register(asked)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        name = f"bench_{time.time_ns()}"
        async with open_storage(storage, name, "motor", data) as database:
            account = await Accounts(database).create(
                "bench@example.com", "default", verified=True, credit=nano("10000")
            )
            keys = Keys(database, SECRET)
            made = [await keys.create(account.id, name=f"key {n}") for n in range(KEYS)]
            began = time.perf_counter()
            await fill(database, account.id, [record.id for record, _ in made], documents)
            print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            cookie = await ConsoleSessions(database, SECRET).begin(account.id, agent="benchmark")
            async with served(load((), {}, options={"plugins": []}), database, data) as port:
                await measure(port, cookie, made[0][1], rounds, asked)
                began = time.perf_counter()
                await compact(database, datetime.now(UTC) + HOUR)
                took = (time.perf_counter() - began) * 1000
                print(f"merging {UNMERGED_HOURS} hours took {took:.0f} ms", file=sys.stderr)
            if storage != EMBEDDED:
                await database.drop()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--storage", default=EMBEDDED, help="a mongodb:// url")
    parser.add_argument("--documents", type=int, default=20_000, help="usage documents")
    parser.add_argument("--rounds", type=int, default=60, help="requests a page")
    chosen = parser.parse_args()
    uvloop.run(run(chosen.storage, chosen.documents, chosen.rounds))


if __name__ == "__main__":
    main()
