"""Accounts and the money that is credited to them."""

from __future__ import annotations

import asyncio

import pytest
from bson import Int64

from ezkielyna.contract.limits import Override
from ezkielyna.contract.money import MAX_NANO, nano
from ezkielyna.storage import accounts as module
from ezkielyna.storage.accounts import Accounts, normalised
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Conflict, Duplicate, Invalid, Missing, Overdrawn
from ezkielyna.storage.trail import read


async def entries(database: Database) -> dict[str, int]:
    return {d["_id"]: d["amount"] async for d in database["ledger"].find()}


async def test_an_account_begins_with_its_credit(database: Database) -> None:
    record = await Accounts(database).create(" Ann@Example.ORG ", "default", credit=nano("5"))
    assert (record.email, record.status, record.plan) == ("ann@example.org", "active", "default")
    assert (record.available, record.held, record.balance) == (5 * 10**9, 0, 5 * 10**9)
    assert not record.verified
    assert await entries(database) == {f"credit:opening-{record.id}": 5 * 10**9}


async def test_an_account_without_credit_has_no_entry(database: Database) -> None:
    record = await Accounts(database).create("a@example.org", "default", verified=True)
    assert record.verified
    assert await entries(database) == {}


async def test_an_email_has_one_account_however_it_is_written(database: Database) -> None:
    accounts = Accounts(database)
    await accounts.create("a@example.org", "default")
    with pytest.raises(Duplicate, match=r"already an account a@example\.org"):
        await accounts.create("A@example.org", "default", credit=5)
    assert await entries(database) == {}
    assert (await accounts.by_email("A@EXAMPLE.org")).email == "a@example.org"


async def test_ten_at_once_make_one_account(database: Database) -> None:
    made = await asyncio.gather(
        *(Accounts(database).create("a@example.org", "default", credit=7) for _ in range(10)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, BaseException) for result in made) == 1
    assert all(isinstance(r, Duplicate) for r in made if isinstance(r, BaseException))
    assert list((await entries(database)).values()) == [7]


@pytest.mark.parametrize(
    "email",
    ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b..c", "a@.b", "a@b\n.c", "x" * 251 + "@b.c"],
)
def test_what_is_no_email_is_refused(email: str) -> None:
    with pytest.raises(Invalid):
        normalised(email)


async def test_a_suspended_account_resumes(database: Database) -> None:
    accounts = Accounts(database)
    made = await accounts.create("a@example.org", "default")
    assert (await accounts.suspend("A@example.org", by="ann")).status == "suspended"
    assert (await accounts.resume("a@example.org")).status == "active"
    document = await database["accounts"].find_one({"_id": made.id})
    assert document is not None
    assert document["version"] == 3
    steps = await read(database, made.id)
    assert [(step.act, step.by) for step in steps] == [
        ("account-resumed", "unknown"),
        ("account-suspended", "ann"),
    ]


async def test_limits_of_an_account_leave_a_step_where_they_change(database: Database) -> None:
    accounts = Accounts(database)
    made = await accounts.create("a@example.org", "default")
    for override in (Override(rpm=5), Override(rpm=5), None):
        changed = await accounts.set_limits(made.email, override, by="ann")
        assert changed.limits == override
    assert [step.act for step in await read(database, made.id)] == ["account-limited"] * 2
    with pytest.raises(Missing):
        await accounts.set_limits("nobody@example.org", None, by="ann")
    assert await database["trail"].count_documents({}) == 2


async def test_the_trail_finds_money_by_an_index(database: Database) -> None:
    """However many settlements lie between two credits."""
    made = await Accounts(database).create("a@example.org", "default", credit=nano("5"))
    [step] = await read(database, made.id)
    assert (step.act, step.amount) == ("credit", nano("5"))
    find = {"find": "ledger", "filter": {"account": made.id, "kind": "credit"}, "sort": {"at": -1}}
    told = await database.command({"explain": find})
    assert "{'account': 1, 'kind': 1, 'at': 1}" in str(told["queryPlanner"]["winningPlan"])


async def test_unknown_accounts_are_missing(database: Database) -> None:
    accounts = Accounts(database)
    for ask in (accounts.by_email, accounts.suspend, accounts.resume):
        with pytest.raises(Missing, match=r"nobody@example\.org"):
            await ask("nobody@example.org")
    with pytest.raises(Missing, match="acc_x"):
        await accounts.by_id("acc_x")


async def test_all_pages_are_listed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for name in "dbaec":
        await Accounts(database).create(f"{name}@example.org", "default")
    listed = [record.email[0] async for record in Accounts(database).list()]
    assert listed == list("abcde")


async def test_the_balance_is_free_and_held(database: Database) -> None:
    made = await Accounts(database).create("a@example.org", "default", credit=100)
    for process, held in (("p", 30), ("q", 12)):
        await database["leases"].insert_one(
            {
                "_id": f"{process}:{made.id}",
                "process": process,
                "account": made.id,
                "held": Int64(held),
            }
        )
    record = await Accounts(database).by_id(made.id)
    assert (record.available, record.held, record.balance) == (100, 42, 142)


async def test_a_reference_credits_once_even_ten_at_a_time(database: Database) -> None:
    made = await Accounts(database).create("a@example.org", "default")
    done = await asyncio.gather(
        *(credit(database, made.id, 5, reference="r", by="test", note="n") for _ in range(10))
    )
    assert sorted(done) == [False] * 9 + [True]
    assert (await Accounts(database).by_id(made.id)).balance == 5
    entry = await database["ledger"].find_one({"_id": "credit:r"})
    assert entry is not None
    del entry["at"]
    assert entry == {
        "_id": "credit:r",
        "account": made.id,
        "kind": "credit",
        "amount": 5,
        "reference": "r",
        "by": "test",
        "note": "n",
    }


async def test_different_credits_at_once_all_count(database: Database) -> None:
    made = await Accounts(database).create("a@example.org", "default")
    await asyncio.gather(
        *(credit(database, made.id, n, reference=f"r{n}", by="test") for n in range(1, 9))
    )
    assert (await Accounts(database).by_id(made.id)).available == 36


async def test_corrections_never_take_more_than_is_free(database: Database) -> None:
    made = await Accounts(database).create("a@example.org", "default", credit=10)
    results = await asyncio.gather(
        *(
            credit(database, made.id, -4, reference=f"c{n}", kind="correction", by="test")
            for n in range(5)
        ),
        return_exceptions=True,
    )
    assert sorted(map(str, [r for r in results if r is True])) == ["True", "True"]
    assert sum(isinstance(result, Overdrawn) for result in results) == 3
    assert (await Accounts(database).by_id(made.id)).available == 2
    assert sum((await entries(database)).values()) == 2


async def test_a_reference_cannot_mean_two_things(database: Database) -> None:
    made = await Accounts(database).create("a@example.org", "default")
    await credit(database, made.id, 5, reference="r", by="test")
    with pytest.raises(Conflict, match="'r' already stands for"):
        await credit(database, made.id, 6, reference="r", by="test")
    assert (await Accounts(database).by_id(made.id)).available == 5


async def test_credit_needs_an_account_and_stays_in_range(database: Database) -> None:
    with pytest.raises(Missing):
        await credit(database, "acc_x", 5, reference="r", by="test")
    made = await Accounts(database).create("a@example.org", "default", credit=MAX_NANO)
    with pytest.raises(Invalid):
        await credit(database, made.id, 1, reference="r", by="test")
    assert await database["ledger"].count_documents({}) == 1
