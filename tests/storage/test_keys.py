"""Keys: found by their fingerprint with their account, and never stored themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ezkielyna.contract.context import Account, Key
from ezkielyna.contract.limits import Override
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate, Missing
from ezkielyna.storage.keyformat import generate, well_formed
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.trail import read

SECRET = b"a secret of this test"


async def account_in(database: Database, email: str = "a@example.org") -> str:
    return (await Accounts(database).create(email, "default", verified=True)).id


async def test_a_key_is_found_with_its_account(database: Database) -> None:
    account = await account_in(database)
    ends = datetime(2031, 1, 1, tzinfo=UTC)
    keys = Keys(database, SECRET)
    record, text = await keys.create(
        account, name="app", models=("gpt-*", "o3"), expires_at=ends, limit=7
    )
    assert well_formed(text)
    database.commands.clear()
    found = await keys.find(text)
    assert database.commands == ["aggregate"]
    assert found == (
        Key(
            id=record.id,
            account=account,
            name="app",
            models=("gpt-*", "o3"),
            expires_at=ends.timestamp(),
            revoked=False,
            limit=7,
        ),
        Account(id=account, email="a@example.org", plan="default", suspended=False, verified=True),
    )


async def test_a_plain_key_has_no_bounds(database: Database) -> None:
    keys = Keys(database, SECRET)
    record, text = await keys.create(await account_in(database), name="app")
    found = await keys.find(text)
    assert found is not None
    assert (found[0].models, found[0].expires_at, found[0].limit) == ((), 0.0, None)
    assert record.state(datetime.now(UTC)) == "active"


async def test_the_key_itself_is_not_stored(database: Database) -> None:
    keys = Keys(database, SECRET)
    _, text = await keys.create(await account_in(database), name="app")
    stored = str(await database["keys"].find_one({}))
    assert text not in stored
    assert text[3:20] not in stored


async def test_other_keys_and_other_secrets_find_nothing(database: Database) -> None:
    keys = Keys(database, SECRET)
    _, text = await keys.create(await account_in(database), name="app")
    assert await keys.find(generate()) is None
    assert await Keys(database, b"another").find(text) is None


async def test_a_key_of_our_own_choosing_exists_once(database: Database) -> None:
    keys = Keys(database, SECRET)
    account, text = await account_in(database), generate()
    _, made = await keys.create(account, name="demo", key=text)
    assert made == text
    with pytest.raises(Duplicate):
        await keys.create(account, name="demo", key=text)


async def test_many_keys_are_checked_again_in_one_command(database: Database) -> None:
    keys = Keys(database, SECRET)
    first, second = await account_in(database), await account_in(database, "b@example.org")
    made = [(await keys.create(account, name="k"))[0].id for account in (first, first, second)]
    await keys.revoke(made[0])
    await Accounts(database).suspend("b@example.org")
    database.commands.clear()
    found = await keys.refresh([*made, "key_gone"])
    assert database.commands == ["aggregate"]
    assert {id_: (key.revoked, account.suspended) for id_, (key, account) in found.items()} == {
        made[0]: (True, False),
        made[1]: (False, False),
        made[2]: (False, True),
    }
    assert await keys.refresh([]) == {}


async def test_revoking_twice_keeps_the_first_time(database: Database) -> None:
    keys = Keys(database, SECRET)
    record, text = await keys.create(await account_in(database), name="app")
    first = await keys.revoke(record.id)
    assert first.state(datetime.now(UTC)) == "revoked"
    assert await keys.revoke(record.id) == first
    found = await keys.find(text)
    assert found is not None
    assert found[0].revoked
    with pytest.raises(Missing, match="key_x"):
        await keys.revoke("key_x")


async def test_limits_of_a_key_leave_a_step_where_they_change(database: Database) -> None:
    account = await account_in(database)
    keys = Keys(database, SECRET)
    made, _ = await keys.create(account, name="app", by="ann")
    for override in (Override(rpm=5), Override(rpm=5), None):
        changed = await keys.set_limits(made.id, override, by="ann")
        assert changed.limits == override
    steps = [(step.act, step.by) for step in await read(database, account)]
    assert steps == [("key-limited", "ann")] * 2 + [("key-created", "ann")]
    with pytest.raises(Missing):
        await keys.set_limits("key_0", None, by="ann")


async def test_keys_are_listed_oldest_first(database: Database) -> None:
    keys = Keys(database, SECRET)
    account, other = await account_in(database), await account_in(database, "b@example.org")
    made = [(await keys.create(account, name=name))[0] for name in "abc"]
    await keys.create(other, name="d")
    assert [record.id for record in await keys.list(account)] == [record.id for record in made]


async def test_the_last_use_never_goes_back(database: Database) -> None:
    keys = Keys(database, SECRET)
    account = await account_in(database)
    record, _ = await keys.create(account, name="app")
    assert record.last_used_at is None
    now = datetime(2026, 5, 1, tzinfo=UTC)
    await keys.touch({record.id: now})
    await keys.touch({record.id: now - timedelta(hours=1), "key_gone": now})
    await keys.touch({})
    [listed] = await keys.list(account)
    assert listed.last_used_at == now


async def test_an_expired_key_says_so(database: Database) -> None:
    now = datetime.now(UTC)
    record, _ = await Keys(database, SECRET).create(
        await account_in(database), name="app", expires_at=now
    )
    assert record.state(now) == "expired"
