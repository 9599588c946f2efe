"""Settings: password, mails, export, history, the end of an account."""

from __future__ import annotations

import json

import pytest
from bson import Int64

from ezkielyna.console.notices import Notices
from ezkielyna.ledger.verify import verify
from ezkielyna.mail.carriers import Folder
from ezkielyna.mail.post import Post
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.credits import credit
from ezkielyna.storage.notices import mark_of
from ezkielyna.storage.passwords import hashed
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import SESSION, Visitor, logged_in

PASSWORD = "correct horse battery"
NEW = "another long password"


async def settled_in(gateway: RunningGateway) -> Visitor:
    await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
    return await logged_in(gateway)


async def log_in(gateway: RunningGateway, password: str) -> int:
    visitor = Visitor(gateway.url)
    fields = {"email": gateway.email, "password": password}
    return (await visitor.post("/login", fields, page="/login")).status


async def test_a_new_password_ends_the_other_sessions(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, phone = await settled_in(gateway), await logged_in(gateway)
        before = ann.cookies[SESSION]
        answer = await ann.post("/settings/password", {"current": PASSWORD, "new": NEW})
        assert answer.location == "/settings"
        assert ann.cookies[SESSION] != before
        assert "Password changed" in (await ann.get("/settings")).text
        assert (await phone.get("/settings")).status == 303
        assert await log_in(gateway, PASSWORD) == 422
        assert await log_in(gateway, NEW) == 303
        assert "was changed" in (await gateway.mailbox.letter(gateway.email)).subject


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"current": "wrong", "new": NEW}, "not your password"),
        ({"current": PASSWORD, "new": "short"}, "at least 8"),
        ({"current": PASSWORD, "new": "password"}, "common password"),
    ],
)
async def test_a_password_that_is_not_changed(
    gateways: Gateways, fields: dict[str, str], says: str
) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        answer = await ann.post("/settings/password", fields)
        assert answer.status == 422
        assert says in answer.text
        assert await log_in(gateway, PASSWORD) == 303


async def test_guessing_the_own_password_is_slowed_down(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        token = await ann.token()
        fields = {"current": "wrong", "new": NEW}
        answers = [await ann.post("/settings/password", fields, token=token) for _ in range(7)]
        assert "Try again in" in answers[-1].text


async def test_a_low_balance_is_told_once(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        await ann.post("/settings/notifications", {"mark": "$4"})
        assert await mark_of(gateway.database, gateway.account) == 4_000_000_000
        assert 'value="4.00"' in (await ann.get("/settings")).raw
        notices = Notices(
            gateway.database, Post(Folder(gateway.mailbox.folder), "a@b.example"), "https://g"
        )

        async def book(dollars: int, reference: str) -> None:
            nanos = dollars * 10**9
            kind = "credit" if dollars > 0 else "correction"
            await credit(
                gateway.database,
                gateway.account,
                nanos,
                reference=reference,
                kind=kind,  # type: ignore[arg-type]
                by="test",
            )

        await notices.look()
        await book(-2, "a")
        for _ in range(3):
            await notices.look()
        letter = await gateway.mailbox.letter(gateway.email)
        assert "$3.00" in letter.text
        await book(5, "b")
        await notices.look()
        await book(-5, "c")
        await notices.look()
        await gateway.mailbox.letter(gateway.email, count=2)
        await ann.post("/settings/notifications", {"mark": ""})
        assert await mark_of(gateway.database, gateway.account) is None


async def test_what_processes_hold_is_not_low(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        await ann.post("/settings/notifications", {"mark": "4"})
        await gateway.database["accounts"].update_one(
            {"_id": gateway.account}, {"$inc": {"available": Int64(-2 * 10**9)}}
        )
        await gateway.database["leases"].insert_one(
            {
                "_id": "lea_test",
                "process": "elsewhere",
                "account": gateway.account,
                "held": Int64(2 * 10**9),
            }
        )
        post = Post(Folder(gateway.mailbox.folder), "a@b.example")
        await Notices(gateway.database, post, "https://g").look()
        await post.close()
        assert not gateway.mailbox.letters(gateway.email)


@pytest.mark.parametrize("mark", ["much", "-1", "0", "0.0000000001"])
async def test_a_mark_that_is_no_amount(gateways: Gateways, mark: str) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        answer = await ann.post("/settings/notifications", {"mark": mark})
        assert answer.status == 422
        assert f'value="{mark}"' in answer.raw


async def test_the_export_holds_everything_and_no_secret(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        stored = await gateway.database["keys"].find_one({"_id": gateway.key_id})
        answer = await ann.get("/settings/export")
        assert answer.headers["content-disposition"].startswith("attachment")
        document = json.loads(answer.body)
        assert document["account"][0]["email"] == gateway.email
        assert [key["_id"] for key in document["keys"]] == [gateway.key_id]
        assert document["ledger"][0]["amount"] == 5_000_000_000
        assert stored is not None
        for secret in (stored["hash"], "argon2", ann.cookies[SESSION], gateway.key):
            assert secret not in answer.raw


async def test_history_shows_keys_and_money(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await settled_in(gateway)
        text = (await ann.get("/settings/history")).text
        assert "Key created" in text
        assert "opening credit" in text
        assert "$5.00" in text
        for odd in ("x", "2026-01-01", "9999-12-31T23:59:59+00:00"):
            assert (await ann.get(f"/settings/history?until={odd}")).status == 200


async def test_an_account_is_closed(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, phone = await settled_in(gateway), await logged_in(gateway)
        asked = await ann.get("/settings/delete")
        assert "There are $5.00 on your balance" in asked.text
        kept = await ann.post("/settings/delete", {"password": PASSWORD})
        assert kept.status == 422
        wrong = await ann.post("/settings/delete", {"password": "wrong", "give_up": "yes"})
        assert wrong.status == 422
        done = await ann.post("/settings/delete", {"password": PASSWORD, "give_up": "yes"})
        assert done.location == "/"
        assert (await phone.get("/settings")).status == 303
        assert await log_in(gateway, PASSWORD) == 422
        closed = await Accounts(gateway.database).by_id(gateway.account)
        assert gateway.email not in closed.email
        key = await gateway.database["keys"].find_one({"_id": gateway.key_id})
        assert key is not None
        assert key["revoked_at"] is not None
        again = await Accounts(gateway.database).create(gateway.email, "default")
        assert again.id != gateway.account
    assert (await verify(gateway.database, pause_s=0)).ok
