"""The shape of the database: made once, refused when unknown, and held by validators."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64
from pymongo import ASCENDING, IndexModel

from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate, Invalid, SchemaMismatch
from ezkielyna.storage.schema import OLDEST, SHAPES, VERSION, prepare


def account(**changes: Any) -> dict[str, Any]:
    return {
        "_id": "acc_1",
        "email": "a@example.org",
        "status": "active",
        "plan": "default",
        "available": Int64(5),
        "version": 1,
        "verified": True,
        "created_at": datetime.now(UTC),
    } | changes


async def test_every_collection_is_there(database: Database) -> None:
    assert set(SHAPES) <= set(await database.collection_names())


async def test_a_second_start_asks_one_question(database: Database) -> None:
    await prepare(database)
    assert database.commands == ["find"]


async def test_a_newer_version_is_refused(database: Database) -> None:
    await database["meta"].update_one({"_id": "schema"}, {"$set": {"version": VERSION + 1}})
    with pytest.raises(SchemaMismatch, match=f"version {VERSION + 1}"):
        await prepare(database)


async def test_an_older_version_is_brought_up_to_date(database: Database) -> None:
    await database["meta"].update_one({"_id": "schema"}, {"$set": {"version": OLDEST}})
    await database["accounts"].insert_one(account())
    await prepare(database)
    noted = await database["meta"].find_one({"_id": "schema"})
    assert noted is not None
    assert noted["version"] == VERSION
    assert await database["accounts"].count_documents({}) == 1


async def test_an_index_that_nothing_searches_any_more_is_dropped(database: Database) -> None:
    await database["usage"].create_indexes([IndexModel([("batch", ASCENDING)])])
    await database["meta"].update_one({"_id": "schema"}, {"$set": {"version": VERSION - 1}})
    await asyncio.gather(prepare(database), prepare(database))
    answer = await database.command({"listIndexes": "usage"})
    names = {index["name"] for index in answer["cursor"]["firstBatch"]}
    assert "batch_1" not in names
    assert "account_1_started_at_1__id_1" in names


@pytest.mark.parametrize(
    "changes",
    [
        {"available": 5},
        {"available": 5.0},
        {"available": Int64(-1)},
        {"status": "gone"},
        {"email": ""},
        {"created_at": "today"},
    ],
)
async def test_documents_money_cannot_rest_on_are_refused(
    database: Database, changes: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await database["accounts"].insert_one(account(**changes))
    await database["accounts"].insert_one(account())


async def test_an_update_cannot_break_the_shape(database: Database) -> None:
    await database["accounts"].insert_one(account())
    with pytest.raises(Invalid):
        await database["accounts"].update_one({"_id": "acc_1"}, {"$inc": {"available": -6}})
    with pytest.raises(Invalid):
        await database["accounts"].update_one({"_id": "acc_1"}, {"$set": {"available": 1}})


async def test_an_email_belongs_to_one_account(database: Database) -> None:
    await database["accounts"].insert_one(account())
    with pytest.raises(Duplicate):
        await database["accounts"].insert_one(account(_id="acc_2"))
