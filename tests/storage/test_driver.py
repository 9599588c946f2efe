"""What both drivers must do alike, against a real server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from bson import Int64
from pymongo import IndexModel, InsertOne, UpdateOne
from pymongo.monitoring import CommandStartedEvent
from tornado.ioloop import IOLoop

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Driver, Session, _Listener, connect
from ezkielyna.storage.errors import Duplicate, Invalid, StorageAway, StorageError
from ezkielyna.testing.database import DatabaseServer

pytestmark = pytest.mark.usefixtures("abandoned_sockets")


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Driver:
    chosen: Driver = request.param
    return chosen


@pytest.fixture
def db(database_server: DatabaseServer, io_loop: IOLoop, driver: Driver) -> Iterator[Database]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    opened: Database = io_loop.run_sync(
        lambda: connect(database_server.url, name, driver, count=True)
    )
    yield opened
    io_loop.run_sync(opened.close)


async def test_documents_come_and_go(db: Database) -> None:
    things = db["things"]
    assert await things.find_one({"_id": 1}) is None
    await things.insert_one({"_id": 1, "n": Int64(2**40), "at": datetime(2026, 1, 2, tzinfo=UTC)})
    await things.insert_many([{"_id": 2, "n": 2}, {"_id": 3, "n": 3}])
    found = await things.find_one({"_id": 1})
    assert found == {"_id": 1, "n": 2**40, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    assert isinstance(found["n"], Int64)
    assert found["at"].utcoffset() is not None
    assert [d["_id"] async for d in things.find(sort=[("_id", -1)], skip=1, limit=1)] == [2]
    assert await things.count_documents({"n": {"$lt": 4}}) == 2
    assert (await things.update_many({}, {"$inc": {"n": 1}})).modified_count == 3
    changed = await things.find_one_and_update({"_id": 2}, {"$inc": {"n": 1}})
    assert changed == {"_id": 2, "n": 4}
    before = await things.find_one_and_update({"_id": 2}, {"$inc": {"n": 1}}, before=True)
    assert before == {"_id": 2, "n": 4}
    assert (await things.delete_one({"_id": 3})).deleted_count == 1
    assert (await things.delete_many({})).deleted_count == 2


async def test_a_pipeline_and_a_bulk(db: Database) -> None:
    things = db["things"]
    result = await things.bulk_write(
        [InsertOne({"_id": 1, "n": 1}), UpdateOne({"_id": 2}, {"$set": {"n": 5}}, upsert=True)]
    )
    assert (result.inserted_count, result.upserted_count) == (1, 1)
    grouped = things.aggregate([{"$group": {"_id": None, "n": {"$sum": "$n"}}}])
    assert [d async for d in grouped] == [{"_id": None, "n": 6}]


async def test_every_write_waits_for_the_majority(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def note(_: object, event: CommandStartedEvent) -> None:
        asked[event.command_name] = event.command.get("writeConcern")

    async def pay(session: Session) -> None:
        await db["things"].insert_one({"_id": 9}, session=session)

    monkeypatch.setattr(_Listener, "started", note)
    things = db["things"]
    await things.create_indexes([IndexModel("n")])
    await things.insert_many([{"_id": 1}, {"_id": 2}])
    await things.update_one({"_id": 1}, {"$set": {"n": 1}})
    await things.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}})
    await things.delete_one({"_id": 2})
    writes = {"createIndexes", "insert", "update", "findAndModify", "delete"}
    assert all(asked.pop(name) == {"w": "majority"} for name in writes), asked
    await db.transaction(pay)
    assert asked["insert"] is None, "a transaction's writes wait with its commit"
    assert asked["commitTransaction"] == {"w": "majority"}


async def test_more_documents_than_a_batch_holds(db: Database) -> None:
    await db["things"].insert_many([{"_id": n} for n in range(300)])
    assert [d["_id"] async for d in db["things"].find(sort=[("_id", 1)], batch_size=50)] == list(
        range(300)
    )


async def test_a_commands_list_names_what_was_sent(db: Database) -> None:
    db.commands.clear()
    await db["things"].find_one({"_id": 1})
    await db["things"].insert_one({"_id": 1})
    assert db.commands == ["find", "insert"]


async def test_money_for_ten_is_spent_ten_times(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "available": Int64(10)})

    async def spend() -> int:
        result = await db["money"].update_one(
            {"_id": "a", "available": {"$gte": 1}}, {"$inc": {"available": Int64(-1)}}
        )
        return result.modified_count

    assert sum(await asyncio.gather(*(spend() for _ in range(50)))) == 10
    assert await db["money"].find_one({"_id": "a"}) == {"_id": "a", "available": 0}


async def test_transactions_that_meet_all_happen(db: Database) -> None:
    await db["money"].insert_many([{"_id": "a", "n": Int64(0)}, {"_id": "b", "n": Int64(0)}])

    async def move(session: Session) -> None:
        found = await db["money"].find_one({"_id": "a"}, session=session)
        assert found is not None
        await db["money"].update_one({"_id": "a"}, {"$set": {"n": found["n"] + 1}}, session=session)
        await db["money"].update_one({"_id": "b"}, {"$inc": {"n": -1}}, session=session)

    await asyncio.gather(*(db.transaction(move) for _ in range(10)))
    assert [d["n"] async for d in db["money"].find(sort=[("_id", 1)])] == [10, -10]


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "n": 1})

    async def fail(session: Session) -> None:
        await db["money"].update_one({"_id": "a"}, {"$set": {"n": 2}}, session=session)
        await db["money"].insert_one({"_id": "b"}, session=session)
        raise LookupError("changed our mind")

    with pytest.raises(LookupError):
        await db.transaction(fail)
    assert [d async for d in db["money"].find()] == [{"_id": "a", "n": 1}]


async def test_a_duplicate_undoes_its_transaction(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "n": 1})

    async def repeat(session: Session) -> None:
        await db["money"].update_one({"_id": "a"}, {"$set": {"n": 2}}, session=session)
        await db["money"].insert_one({"_id": "a"}, session=session)

    with pytest.raises(Duplicate):
        await db.transaction(repeat)
    assert await db["money"].find_one({"_id": "a"}) == {"_id": "a", "n": 1}


async def test_a_cancelled_transaction_leaves_nothing(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "n": 1})
    written = asyncio.Event()

    async def wait(session: Session) -> None:
        await db["money"].update_one({"_id": "a"}, {"$set": {"n": 2}}, session=session)
        written.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(db.transaction(wait))
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db["money"].update_one({"_id": "a"}, {"$inc": {"n": 10}})
    assert await db["money"].find_one({"_id": "a"}) == {"_id": "a", "n": 11}


async def test_a_transaction_ends_after_bounded_tries(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ezkielyna.storage.database.BACKOFF_S", 0)
    tries = 0

    async def never(session: Session) -> None:
        nonlocal tries
        tries += 1
        raise StorageError("again", labels=frozenset({"TransientTransactionError"}))

    with pytest.raises(StorageError, match="again"):
        await db.transaction(never)
    assert 5 <= tries <= 50


async def test_duplicates_are_named_so(db: Database) -> None:
    await db["things"].create_indexes([IndexModel([("name", 1)], unique=True)])
    await db["things"].insert_one({"_id": 1, "name": "x"})
    with pytest.raises(Duplicate):
        await db["things"].insert_one({"_id": 1, "name": "y"})
    with pytest.raises(Duplicate):
        await db["things"].insert_one({"_id": 2, "name": "x"})
    with pytest.raises(Duplicate):
        await db["things"].insert_many([{"_id": 3, "name": "z"}, {"_id": 4, "name": "x"}])
    with pytest.raises(Duplicate):
        await db["things"].bulk_write([InsertOne({"_id": 1})])


async def test_what_cannot_be_stored_is_invalid(db: Database) -> None:
    await db.create_collection(
        "strict", validator={"$jsonSchema": {"properties": {"n": {"bsonType": "long"}}}}
    )
    with pytest.raises(Invalid):
        await db["strict"].insert_one({"_id": 1, "n": 1})
    with pytest.raises(Invalid):
        await db["strict"].bulk_write([InsertOne({"_id": 1, "n": "x"})])
    with pytest.raises(Invalid):
        await db["strict"].insert_one({"_id": 1, "n": 2**63})
    with pytest.raises(Invalid):
        await db["strict"].insert_one({"_id": 1, "n": object()})
    await db["strict"].insert_one({"_id": 1, "n": Int64(1)})


async def test_a_wrong_command_is_a_storage_error(db: Database) -> None:
    with pytest.raises(StorageError, match="error"):
        await db.command({"noSuchCommand": 1})
    with pytest.raises(StorageError):
        _ = [d async for d in db["things"].find({"n": {"$noSuchOperator": 1}})]


async def test_changes_are_seen_from_the_moment_of_watching(db: Database) -> None:
    await db["things"].insert_one({"_id": 1})
    async with db.watch([{"$match": {"ns.coll": "things"}}]) as changes:
        await db["things"].insert_one({"_id": 2})
        await db["other"].insert_one({"_id": 9})
        await db["things"].update_one({"_id": 1}, {"$set": {"n": 1}})
        first, second = await anext(changes), await anext(changes)
    seen = [(c["operationType"], c["documentKey"]["_id"]) for c in (first, second)]
    assert seen == [("insert", 2), ("update", 1)]
    async with db.watch([{"$match": {"ns.coll": "things"}}], resume_after=first["_id"]) as changes:
        assert (await anext(changes))["documentKey"] == {"_id": 1}


async def test_commit_is_tried_again_when_its_outcome_is_unknown(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "n": 1})
    await fail_once(db, "commitTransaction")
    db.commands.clear()

    async def add(session: Session) -> None:
        await db["money"].update_one({"_id": "a"}, {"$inc": {"n": 1}}, session=session)

    await db.transaction(add)
    assert db.commands.count("commitTransaction") == 2
    assert await db["money"].find_one({"_id": "a"}) == {"_id": "a", "n": 2}


async def test_a_broken_connection_inside_a_transaction_starts_it_again(db: Database) -> None:
    await db["money"].insert_one({"_id": "a", "n": 1})
    await fail_once(db, "update")
    db.commands.clear()

    async def add(session: Session) -> None:
        await db["money"].update_one({"_id": "a"}, {"$inc": {"n": 1}}, session=session)

    await db.transaction(add)
    assert db.commands.count("update") == 2
    assert await db["money"].find_one({"_id": "a"}) == {"_id": "a", "n": 2}


async def test_nobody_there_shows_quickly(driver: Driver) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(StorageAway) as caught:
        await connect("mongodb://someone:secret@127.0.0.1:1/?directConnection=true", "x", driver)
    assert asyncio.get_running_loop().time() - started < 3
    assert "secret" not in str(caught.value)


async def test_a_wrong_url_is_explained(driver: Driver) -> None:
    with pytest.raises(StorageError, match=r"storage\.url"):
        await connect("postgres://localhost/x", "x", driver)


async def fail_once(db: Database, command: str) -> None:
    """Have the server drop the connection of the next such command."""
    admin = Database(db._link, "admin", [])
    await admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": [command], "closeConnection": True},
        }
    )


async def test_a_transaction_that_a_hanging_server_began_late_is_ended(db: Database) -> None:
    """Nobody else would end it for a minute: its owner gave up and has another session now."""
    await db["things"].insert_one({"_id": 1, "n": 0})
    add = {"$inc": {"n": 1}}
    orphan = Session(await db._link.start_session())
    await db._link.start_transaction(orphan.raw, db._raw.read_concern, db._raw.write_concern)
    await db["things"].update_one({"_id": 1}, add, session=orphan)
    db._lose(orphan.raw)
    async with asyncio.timeout(20):
        await db.transaction(
            lambda session: db["things"].update_one({"_id": 1}, add, session=session)
        )
    assert await db["things"].find_one({"_id": 1}) == {"_id": 1, "n": 1}
    await orphan.raw.end_session()
