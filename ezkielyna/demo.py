"""The demo account: one account with money and one key that stays the same over restarts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ezkielyna.storage import passwords
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate
from ezkielyna.storage.keyformat import generate, random_text
from ezkielyna.storage.keys import Keys

EMAIL = "demo@ezkielyna.local"
CREDIT_USD = 10
PASSWORD = 16
"""Characters of the demo's password: 95 bits."""
NANOS_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Demo:
    """What lets a newcomer in: to the API, and to the console."""

    key: str
    password: str


async def demo_account(database: Database, data: Path, secret: bytes, plan: str) -> Demo:
    """Return what lets into the demo account; make account, credit and key where they are missing.

    Key and password of this account alone are kept in clear, in `data/demo.json` with mode 0600,
    because the demo prints them at every start. Both work afterwards, whatever was changed since.
    """
    accounts, keys, credentials = Accounts(database), Keys(database, secret), Credentials(database)
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
    demo = _kept(data / "demo.json")
    if await keys.find(demo.key) is None:
        await keys.create(account.id, name="demo", key=demo.key, by="demo")
    if await credentials.check(EMAIL, demo.password) is None:
        await credentials.set_password(account.id, await passwords.hashed(demo.password))
    return demo


def _kept(path: Path) -> Demo:
    """Return what the file holds, making what is missing in it."""
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        kept = {}
    demo = Demo(kept.get("key") or generate(), kept.get("password") or random_text(PASSWORD))
    fresh = {"email": EMAIL, "key": demo.key, "password": demo.password}
    if kept != fresh:
        unfinished = path.with_suffix(".new")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(fresh, file)
        unfinished.replace(path)
    return demo


def greeting(address: str, model: str, demo: Demo) -> str:
    """Return what a newcomer pastes."""
    return f"""
Console       {address}
Demo account  {EMAIL}
Password      {demo.password}
Base URL      {address}/api/v1

curl -N {address}/api/v1/chat/completions \\
  -H "Authorization: Bearer {demo.key}" -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'
"""
