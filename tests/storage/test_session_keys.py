"""Keys of console sessions: found again without being stored, replaced in time, ended with them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.closing import exported
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.storage.database import Database
from ezkielyna.storage.keyformat import key_from, well_formed
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.session_keys import LEAST_LEFT, LIFETIME, SessionKeys

SECRET = b"s" * 32


async def begun(database: Database) -> tuple[str, str, str]:
    """Return an account, the id of a session of its, and that session's token."""
    account = await Accounts(database).create(f"{id(object())}@example.com", "default")
    sessions = ConsoleSessions(database, SECRET)
    token = await sessions.begin(account.id)
    session = await sessions.find(token)
    assert session is not None
    return account.id, session.id, token


def test_a_seed_makes_one_key() -> None:
    key = key_from(b"a" * 32, "seed")
    assert well_formed(key)
    assert key == key_from(b"a" * 32, "seed")
    assert len({key, key_from(b"b" * 32, "seed"), key_from(b"a" * 32, "seeds")}) == 3


async def test_a_session_has_one_key_however_often_it_asks(database: Database) -> None:
    account, session, token = await begun(database)
    keys = SessionKeys(database, SECRET)
    asked = [keys.of(account, session, token, name="Playground") for _ in range(5)]
    found = await asyncio.gather(*asked)
    again = await keys.of(account, session, token, name="Playground")
    assert len({key.text for key in (*found, again)}) == 1
    (record,) = await Keys(database, SECRET).list(account)
    assert record.name == "Playground"
    assert record.expires_at is not None
    assert timedelta(0) < record.expires_at - datetime.now(UTC) <= LIFETIME
    assert await Keys(database, SECRET).find(again.text) is not None


async def test_other_sessions_have_other_keys(database: Database) -> None:
    account, session, token = await begun(database)
    keys = SessionKeys(database, SECRET)
    mine = await keys.of(account, session, token, name="Playground")
    sessions = ConsoleSessions(database, SECRET)
    other_token = await sessions.begin(account)
    other = await sessions.find(other_token)
    assert other is not None
    theirs = await keys.of(account, other.id, other_token, name="Playground")
    assert mine.text != theirs.text
    await sessions.end_all(account, besides=session)
    states = {
        key.hint[-4:]: key.state(datetime.now(UTC))
        for key in await Keys(database, SECRET).list(account)
    }
    assert states == {mine.text[-4:]: "active", theirs.text[-4:]: "revoked"}
    await sessions.end(account, session)
    listed = await Keys(database, SECRET).list(account)
    assert {key.state(datetime.now(UTC)) for key in listed} == {"revoked"}


async def test_a_key_that_ends_soon_is_replaced_and_goes_on(database: Database) -> None:
    account, session, token = await begun(database)
    keys = SessionKeys(database, SECRET)
    first = await keys.of(account, session, token, name="Playground")
    soon = datetime.now(UTC) + LEAST_LEFT - timedelta(minutes=1)
    await database["keys"].update_many({"session": session}, {"$set": {"expires_at": soon}})
    second = await keys.of(account, session, token, name="Playground")
    assert second.text != first.text
    now = datetime.now(UTC)
    states = [key.state(now) for key in await Keys(database, SECRET).list(account)]
    assert states == ["active", "active"]


async def test_keys_that_are_over_leave_the_list(database: Database) -> None:
    account, session, token = await begun(database)
    keys = SessionKeys(database, SECRET)
    await keys.of(account, session, token, name="Playground")
    own, _ = await Keys(database, SECRET).create(
        account, name="mine", expires_at=datetime.now(UTC) - timedelta(hours=1)
    )
    over = datetime.now(UTC) - timedelta(seconds=1)
    await database["keys"].update_many({"session": session}, {"$set": {"expires_at": over}})
    await keys.of(account, session, token, name="Playground")
    shown, total = await Keys(database, SECRET).page(account)
    assert total == 2
    assert {key.id for key in shown if key.name == "mine"} == {own.id}


async def test_a_revoked_key_is_replaced(database: Database) -> None:
    account, session, token = await begun(database)
    keys = SessionKeys(database, SECRET)
    first = await keys.of(account, session, token, name="Playground")
    (record,) = await Keys(database, SECRET).list(account)
    await Keys(database, SECRET).revoke(record.id, by="console")
    second = await keys.of(account, session, token, name="Playground")
    assert second.text != first.text


async def test_no_export_tells_the_session(database: Database) -> None:
    account, session, token = await begun(database)
    await SessionKeys(database, SECRET).of(account, session, token, name="Playground")
    documents = [document async for _, document in exported(database, account)]
    assert session not in str(documents)
