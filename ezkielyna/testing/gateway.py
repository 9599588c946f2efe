"""A whole gateway in the test's process: real listener, real database, upstreams of the test's.

```python
async def test_it(gateways, ...):
    async with ScriptedUpstream(script) as upstream, gateways(upstream.url) as gateway:
        ...  # call gateway.url with gateway.key
```
"""

from __future__ import annotations

import copy
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ezkielyna.app import App
from ezkielyna.contract.money import nano
from ezkielyna.plugins import load_plugins
from ezkielyna.server import bound_socket, drain, limits, wire_refusal
from ezkielyna.settings import load
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.mailbox import Mailbox
from ezkielyna.wire.tornado_listener import listener

SECRET = b"0123456789abcdef0123456789abcdef"
OUTBOX = "outbox"

TABLES: dict[str, Any] = {
    "plugins": ["openai"],
    "providers": {"lab": {"kind": "openai", "api_key": "upstream-key"}},
    "models": {
        "gpt-lab": {
            "provider": "lab",
            "input": "2.50",
            "cached_input": "1.25",
            "output": "10",
            "context": 128_000,
            "max_output": 16_384,
        },
        "free-lab": {"provider": "lab", "upstream_model": "gpt-lab", "input": 0, "output": 0},
        "image-lab": {"provider": "lab", "image": "0.04"},
    },
    "plans": {"default": {"rpm": 0, "tpm": 0, "concurrency": 0}},
}
"""The configuration of a gateway under test; the provider's address is filled in."""


@dataclass
class RunningGateway:
    """A gateway that accepts connections at `url`; `key` belongs to `account`, who has money."""

    url: str
    key: str
    key_id: str
    account: str
    email: str
    app: App
    database: Database
    data: Path

    @property
    def api(self) -> str:
        """The base URL for SDKs."""
        return f"{self.url}/v1"

    @property
    def mailbox(self) -> Mailbox:
        """The letters that the gateway sent."""
        return Mailbox(self.data / OUTBOX)

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates."""
        return {"Authorization": f"Bearer {self.key}"}


Gateways = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateways(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateways:
    """Return what starts a gateway: `gateways(upstream_url, tables=…, wire=…, credit=…)`.

    Its journal takes no more room than is written, which is quicker than 16 MiB of zeros.
    """
    monkeypatch.setattr(os, "posix_fallocate", _without_room, raising=False)

    @asynccontextmanager
    async def start(
        upstream_url: str = "http://127.0.0.1:9",
        *,
        tables: dict[str, Any] | None = None,
        credit: str = "5",
        verified: bool = True,
        data: Path | None = None,
    ) -> AsyncIterator[RunningGateway]:
        sock = bound_socket("127.0.0.1", 0)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        folder = data or tmp_path / "data"
        folder.mkdir(exist_ok=True)
        own = {"server": {"public_url": url}, "mail": {"url": f"file:{folder / OUTBOX}"}}
        settings = load((), {}, options=laid(merged(upstream_url, own), tables or {}))
        email = f"{secrets.token_hex(4)}@example.com"
        account = await Accounts(database).create(
            email, "default", verified=verified, credit=nano(credit)
        )
        record, key = await Keys(database, SECRET).create(account.id, name="test")
        app = App(settings, load_plugins(settings), database, folder, SECRET)
        gateway = listener(settings.server.wire, app.router, limits(settings), refuse=wire_refusal)
        await app.start()
        try:
            await gateway.start(sock)
            yield RunningGateway(url, key, record.id, account.id, email, app, database, folder)
        finally:
            await drain(app, gateway, 0.0)
            await app.close()

    return start


def _without_room(descriptor: int, offset: int, size: int) -> None:
    os.ftruncate(descriptor, offset + size)


def merged(upstream_url: str, tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a test laid over the usual ones."""
    result = copy.deepcopy(TABLES)
    result["providers"]["lab"]["base_url"] = f"{upstream_url}/v1"
    return laid(result, tables)


def laid(result: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """Lay tables over others, two levels deep."""
    for name, table in tables.items():
        if isinstance(table, dict):
            result.setdefault(name, {})
            for key, value in table.items():
                inner = result[name].get(key)
                result[name][key] = {**inner, **value} if isinstance(inner, dict) else value
        else:
            result[name] = table
    return result
