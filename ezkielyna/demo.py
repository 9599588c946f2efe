"""The demo account: one account with money and one key that stays the same over restarts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate
from ezkielyna.storage.keyformat import generate
from ezkielyna.storage.keys import Keys

EMAIL = "demo@ezkielyna.local"
CREDIT_USD = 10
NANOS_PER_USD = 1_000_000_000


async def demo_key(database: Database, data: Path, secret: bytes, plan: str) -> str:
    """Return the demo account's key; make account, credit and key where they are missing.

    Only this key is kept in clear, in `data/demo.json` with mode 0600, because the demo prints it
    at every start.
    """
    accounts, keys = Accounts(database), Keys(database, secret)
    try:
        account = await accounts.create(EMAIL, plan, verified=True, by="demo")
    except Duplicate:
        account = await accounts.by_email(EMAIL)
    await credit(
        database,
        account.id,
        CREDIT_USD * NANOS_PER_USD,
        reference=f"demo-{account.id}",
        kind="credit",
        by="demo",
        note="play money of the demo",
    )
    key = _kept_key(data / "demo.json")
    if await keys.find(key) is None:
        await keys.create(account.id, name="demo", key=key, by="demo")
    return key


def _kept_key(path: Path) -> str:
    """Return the key in the file, making the file at first."""
    try:
        return str(json.loads(path.read_text())["key"])
    except FileNotFoundError:
        key = generate()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"email": EMAIL, "key": key}, file)
        return key


def greeting(address: str, model: str, key: str) -> str:
    """Return what a newcomer pastes."""
    return f"""
Console       {address}
Demo account  {EMAIL}
Base URL      {address}/api/v1

curl -N {address}/api/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'
"""
