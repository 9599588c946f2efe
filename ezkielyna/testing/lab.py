"""`ezkielyna serve` as processes, between a database and an upstream of the test's.

```python
async def test_it(lab):
    ann = await lab.account("5")
    async with ScriptedUpstream(script) as upstream, lab.serving(upstream.url) as gateway:
        answer = await post(gateway.url, ann.key, {...})
    await lab.verify()
```
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from ezkielyna.contract.money import Nano, nano
from ezkielyna.ledger import crash
from ezkielyna.ledger.verify import verify
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.processes import Serving

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of tests

LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp, see proc_pid_net(5)."""

CONFIGURATION = """
plugins = ["openai"]

[server]
secret = "{secret}"
drain_s = {drain_s}
wire = "{wire}"

[storage]
url = "{storage}"
database = "{database}"

[providers.lab]
kind = "openai"
base_url = "{upstream}/v1"
api_key = "upstream-key"

[models.gpt-lab]
provider = "lab"
input = 2.50
output = 10.00
context = 128000
max_output = 16384

[models.image-lab]
provider = "lab"
image = 0.04

[plans.default]
rpm = 0
tpm = 0
concurrency = 0
"""


@dataclass(frozen=True)
class Payer:
    """An account and a key of it."""

    account: str
    email: str
    key: str
    key_id: str


@dataclass
class Lab:
    """A database and a data folder that gateways under test share."""

    database: Database
    url: str
    """The database for `storage.url`."""
    folder: Path
    _names: int = field(default=0, init=False)

    @property
    def data(self) -> Path:
        """The gateways' data folder."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        """The file for `--config`; written by `serving`."""
        return self.folder / "lab.toml"

    @property
    def journals(self) -> list[str]:
        """The processes that have not finished their journals."""
        names = (path.name for path in (self.data / "journal").iterdir())
        return sorted(name for name in names if not name.startswith("."))

    async def account(self, credit: str) -> Payer:
        """Create a verified account with money and a key."""
        self._names += 1
        email = f"payer{self._names}@example.com"
        account = await Accounts(self.database).create(
            email, "default", verified=True, credit=nano(credit)
        )
        key, key_id = await self.key(account.id)
        return Payer(account.id, email, key, key_id)

    async def key(self, account: str, expires_at: datetime | None = None) -> tuple[str, str]:
        """Create a further key of an account; return its text and its id."""
        keys = Keys(self.database, SECRET.encode())
        record, key = await keys.create(account, name="lab", expires_at=expires_at)
        return key, record.id

    @asynccontextmanager
    async def serving(
        self,
        upstream: str,
        *,
        workers: int = 1,
        wire: str = "llhttp",
        drain_s: float = 10.0,
        crash_point: str = "",
        **environment: str,
    ) -> AsyncIterator[Serving]:
        """Run the gateway. It is drained at the end, or dies at a crash point on its way.

        `environment` sets variables, such as `EZKIELYNA_PLANS__DEFAULT__RPM="60"`.
        """
        values = {"storage": self.url, "database": self.database.name, "upstream": upstream}
        self.config.write_text(
            CONFIGURATION.format(secret=SECRET, wire=wire, drain_s=drain_s, **values)
        )
        arguments = ["--config", str(self.config), "--port", "0", "--workers", str(workers)]
        variables = {crash.VARIABLE: crash_point, **environment}
        process = Serving(arguments, self.data, variables)
        try:
            await asyncio.to_thread(lambda: process.url)
            yield process
        except BaseException:
            print(process.output)  # noqa: T201 - pytest shows it beside the failure
            raise
        finally:
            try:
                await asyncio.to_thread(process.stop)
            finally:
                if process.process.poll() is None:
                    process.process.kill()
                    process.process.wait(5)

    async def usages(self, count: int, within_s: float = 10.0) -> list[dict[str, Any]]:
        """Return all usage documents as soon as there are this many."""
        end = time.monotonic() + within_s
        while True:
            found = [document async for document in self.database["usage"].find({})]
            if len(found) >= count:
                return found
            assert time.monotonic() < end, f"{len(found)} usage documents of {count}"
            await asyncio.sleep(0.05)

    async def balance(self, payer: Payer) -> Nano:
        """Return what an account has, free and held."""
        return (await Accounts(self.database).by_id(payer.account)).balance

    async def verify(self) -> None:
        """Assert that every invariant of the money holds."""
        verdict = await verify(self.database, pause_s=1.0)
        assert verdict.ok, json.dumps(verdict.document(), indent=1)
        assert not verdict.debts


@dataclass(frozen=True)
class Answer:
    """An answer with its whole body; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def error(self) -> str:
        """The stable word of the error."""
        return str(self.document["error"]["type"])


class Line:
    """One keep-alive connection; cheap enough to have hundreds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to a gateway."""
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def get(self, path: str, key: str = "", method: str = "GET", **headers: str) -> Answer:
        """Send a request without a body and return its answer; headers as those of `post`."""
        self.writer.write(request(method, path, key, b"", **headers))
        return await self.answer(bodiless=method == "HEAD")

    async def post(
        self, key: str, body: Any, path: str = "/v1/chat/completions", **headers: str
    ) -> Answer:
        """Send JSON and return the answer; underscores in names of headers become hyphens."""
        self.send(key, body, path, **headers)
        return await self.answer()

    def send(self, key: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> None:
        """Send JSON and wait for nothing."""
        self.writer.write(request("POST", path, key, orjson.dumps(body), **headers))

    async def head(self) -> Answer:
        """Return the head of the next answer; raises IncompleteReadError where there is none."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): text for name, text in pairs}
        assert len(headers) == len(lines), f"a header came twice: {lines}"
        return Answer(int(first.split(" ")[1]), headers, b"")

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Return the next answer."""
        head = await self.head()
        if bodiless:
            return head
        if head.headers.get("transfer-encoding") == "chunked":
            body = b"".join([chunk async for chunk in self.chunks()])
        else:
            body = await self.reader.readexactly(int(head.headers.get("content-length", "0")))
        return Answer(head.status, head.headers, body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the chunks of a body as they come."""
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()


def request(method: str, path: str, key: str = "", body: bytes = b"", **headers: str) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: lab"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def listeners(url: str) -> int:
    """Return how many processes accept connections at this address, by the system's table."""
    port = urlsplit(url).port
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == LISTENING for row in rows)


async def post(
    url: str,
    key: str,
    body: Any,
    path: str = "/v1/chat/completions",
    within_s: float = 30.0,
    **headers: str,
) -> Answer:
    """Send JSON on a connection of its own and return the answer."""
    async with asyncio.timeout(within_s), await Line.open(url) as line:
        return await line.post(key, body, path, **headers)


@dataclass(frozen=True)
class ServerIds:
    """The processes of an embedded database."""

    server: int
    keeper: int

    @classmethod
    def of(cls, data: Path) -> Self:
        """Read who serves the database in this folder."""
        notice = json.loads((data / "db.json").read_text())
        return cls(notice["pid"], notice["keeper"])

    def signal(self, number: int) -> None:
        """Send a signal to the server alone."""
        os.kill(self.server, number)
