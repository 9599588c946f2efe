"""`ezkielyna ledger verify` and `ezkielyna usage`: what they print, and with which exit status."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import main
from ezkielyna.contract.money import Price, nano, usd
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.books import Ledger
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import connect
from ezkielyna.storage.schema import prepare
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.ledger import accepted

PRICE = Price("v1", {"input": 2_500_000_000, "output": 10_000_000_000})
DAYS = (datetime(2026, 3, 1, 23, 59, 59, 500_000, UTC), datetime(2026, 3, 2, 0, 0, 0, 0, UTC))
COLUMNS = (
    "request_id,started_at,key,model,provider,endpoint,outcome,status,input_tokens,"
    "cached_input_tokens,cache_write_tokens,output_tokens,reasoning_tokens,images,source,"
    "cost_usd,first_byte_ms,duration_ms"
)


class Books:
    """A database of this test's own, with usage on two days, and the command line on it."""

    def __init__(self, url: str, name: str, data: Path) -> None:
        self._url = url
        self._name = name
        self._data = data

    def ezkielyna(self, *words: str) -> Result:
        return CliRunner().invoke(main, words)

    def do(self, work: Callable[[Database], Any]) -> None:
        async def done() -> None:
            database = await connect(self._url, self._name)
            await prepare(database)
            await work(database)
            await database.close()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(done())
        loop.close()

    async def fill(self, database: Database) -> None:
        account = await Accounts(database).create("ann@example.org", "default", credit=10**9)
        ledger = Ledger(database, self._data, prices=[PRICE])
        await ledger.open()
        for number, day in enumerate(DAYS):
            for model in ("fast", "smart"):
                record = accepted(account.id, f"req_{number}{model}", day.timestamp())
                record.model = model
                reservation = await ledger.reserve(record, 10**7, 1)
                record.usage = Usage(input=1000 + number, output=10)
                record.bill = PRICE.bill(record.usage)
                record.outcome, record.status = "ok", 200
                record.first_byte_at = day.timestamp() + 0.25
                record.ended_at = day.timestamp() + 1.5
                reservation.settle()
        await ledger.close()


@pytest.fixture
def books(
    database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Books:
    name = f"test_{uuid.uuid4().hex[:12]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EZKIELYNA_STORAGE__URL", database_server.url)
    monkeypatch.setenv("EZKIELYNA_STORAGE__DATABASE", name)
    books = Books(database_server.url, name, tmp_path)
    books.do(books.fill)
    return books


def test_sound_books_exit_with_0(books: Books) -> None:
    result = books.ezkielyna("ledger", "verify")
    assert result.exit_code == 0, result.stderr
    assert "The books balance." in result.stdout
    assert "I1 1" in result.stdout


def test_verify_in_json(books: Books) -> None:
    result = books.ezkielyna("ledger", "verify", "--json")
    assert result.exit_code == 0
    verdict = json.loads(result.stdout)
    assert verdict["ok"] is True
    assert verdict["faults"] == []
    assert verdict["checked"]["I5"] == 4


def test_a_fault_is_named_and_exits_with_1(books: Books) -> None:
    books.do(lambda d: d["usage"].delete_one({"_id": "req_0fast"}))
    result = books.ezkielyna("ledger", "verify")
    assert result.exit_code == 1
    assert "I3" in result.stderr
    assert "faults" in result.stdout
    verdict = json.loads(books.ezkielyna("ledger", "verify", "--json").stdout)
    assert verdict["ok"] is False
    assert {fault["invariant"] for fault in verdict["faults"]} == {"I3", "I4", "I6"}


def test_csv_has_exactly_the_columns_of_the_contract(books: Books) -> None:
    result = books.ezkielyna("usage", "ann@example.org", "--csv", "--from", "2026-01-01")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 4
    first = next(row for row in rows if row["request_id"] == "req_0fast")
    assert first == {
        "request_id": "req_0fast",
        "started_at": "2026-03-01T23:59:59.500Z",
        "key": "key_1",
        "model": "fast",
        "provider": "lab",
        "endpoint": "chat.completions",
        "outcome": "ok",
        "status": "200",
        "input_tokens": "1000",
        "cached_input_tokens": "0",
        "cache_write_tokens": "0",
        "output_tokens": "10",
        "reasoning_tokens": "0",
        "images": "0",
        "source": "upstream",
        "cost_usd": "0.0026",
        "first_byte_ms": "250",
        "duration_ms": "1500",
    }
    balance = json.loads(books.ezkielyna("accounts", "show", "ann@example.org", "--json").stdout)
    spent = sum(nano(row["cost_usd"]) for row in rows)
    assert balance["balance"] == usd(10**9 - spent)


def test_days_are_half_open_in_utc(books: Books) -> None:
    def requests(*words: str) -> list[str]:
        result = books.ezkielyna("usage", "ann@example.org", "--csv", *words)
        return [line.split(",")[0] for line in result.stdout.splitlines()[1:]]

    assert requests("--from", "2026-03-01", "--to", "2026-03-02") == ["req_0fast", "req_0smart"]
    assert requests("--from", "2026-03-02", "--to", "2026-03-03") == ["req_1fast", "req_1smart"]


def test_the_table_is_by_day_and_model(books: Books) -> None:
    result = books.ezkielyna(
        "usage", "ann@example.org", "--from", "2026-03-01", "--to", "2026-03-03"
    )
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["DAY", "MODEL", "REQUESTS", "ERRORS", "INPUT", "OUTPUT", "COST", "USD"]
    assert lines[1] == ["2026-03-01", "fast", "1", "0", "1,000", "10", "0.0026"]
    assert [line[:2] for line in lines[1:5]] == [
        ["2026-03-01", "fast"],
        ["2026-03-01", "smart"],
        ["2026-03-02", "fast"],
        ["2026-03-02", "smart"],
    ]
    assert lines[5] == ["total", "4", "0", "4,002", "40", "0.010405"]


def test_the_table_in_json(books: Books) -> None:
    words = ("usage", "ann@example.org", "--from", "2026-03-02", "--to", "2026-03-03", "--json")
    rows = json.loads(books.ezkielyna(*words).stdout)
    assert [row["model"] for row in rows] == ["fast", "smart"]
    assert rows[0]["cost"] == "0.0026025"
    assert rows[0]["tokens"]["input"] == 1001


def test_an_unknown_account_and_a_wrong_range_are_refused(books: Books) -> None:
    assert books.ezkielyna("usage", "nobody@example.org").exit_code == 1
    wrong = books.ezkielyna(
        "usage", "ann@example.org", "--from", "2026-03-02", "--to", "2026-03-02"
    )
    assert wrong.exit_code == 2
    assert books.ezkielyna("usage", "ann@example.org", "--from", "March").exit_code == 2
    assert "Nothing was used" in books.ezkielyna("usage", "ann@example.org").stdout
