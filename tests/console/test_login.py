"""Passwords: log in, forgotten, guessed; and how little is told to who guesses."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from ezkielyna.storage import tickets as ticket_store
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.passwords import hashed
from ezkielyna.storage.trail import read
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import Answer, Visitor, logged_in

PASSWORD = "correct horse battery"
NEW = "another long password"


async def with_password(gateway: RunningGateway) -> Visitor:
    await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
    return Visitor(gateway.url)


async def log_in(visitor: Visitor, email: str, password: str) -> Answer:
    return await visitor.post("/login", {"email": email, "password": password}, page="/login")


async def ask_for_reset(gateway: RunningGateway, email: str) -> Answer:
    return await Visitor(gateway.url).post("/reset", {"email": email}, page="/reset")


async def test_a_wrong_password_and_an_unknown_address_look_alike(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await with_password(gateway)
        seen: dict[str, set[str]] = {}
        for email in (gateway.email, "nobody@example.com", "no address"):
            answer = await log_in(Visitor(gateway.url), email, "wrong password")
            assert answer.status == 422
            assert PASSWORD not in answer.text
            error = answer.raw.partition('id="field-password-error">')[2].partition("</p>")[0]
            seen.setdefault(error, set()).add(email)
        assert len(seen) == 1


async def test_an_unknown_address_takes_as_long(gateways: Gateways) -> None:
    """Both hash one password. The medians of several may differ by less than a hash takes."""
    async with gateways() as gateway:
        await with_password(gateway)
        credentials = Credentials(gateway.database)
        took: dict[str, list[float]] = {gateway.email: [], "nobody@example.com": []}
        for _ in range(7):
            for email, times in took.items():
                began = time.perf_counter()
                assert await credentials.check(email, "wrong password") is None
                times.append(time.perf_counter() - began)
        known, unknown = (sorted(times)[3] for times in took.values())
        assert unknown > known / 2
        assert known > unknown / 2


async def test_parallel_guesses_find_no_gap(gateways: Gateways) -> None:
    async with gateways() as gateway:
        visitor = await with_password(gateway)
        token = await visitor.token("/login")
        fields = {"email": gateway.email, "password": "wrong one"}
        answers = await asyncio.gather(
            *(visitor.post("/login", fields, token=token) for _ in range(12))
        )
        assert sum(answer.status == 422 for answer in answers) <= 6


async def test_a_forgotten_password(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await with_password(gateway)
        elsewhere = await logged_in(gateway)
        answer = await ask_for_reset(gateway, gateway.email.upper())
        assert answer.status == 200
        letter = await gateway.mailbox.letter(gateway.email)
        ann = Visitor(gateway.url)
        assert "New password" in (await ann.get(letter.path)).text
        weak = await ann.post(
            "/reset", {"ticket": letter.ticket, "password": "short"}, page=letter.path
        )
        assert weak.status == 422
        fields = {"ticket": letter.ticket, "password": NEW}
        done = await ann.post("/reset", fields, page=letter.path)
        assert (done.status, done.location) == (303, "/login")
        assert (await elsewhere.get("/settings")).status == 303
        assert (await log_in(ann, gateway.email, PASSWORD)).status == 422
        assert (await log_in(ann, gateway.email, NEW)).status == 303
        told = await gateway.mailbox.letter(gateway.email, count=2)
        assert "was changed" in told.subject
        steps = await read(gateway.database, gateway.account)
        assert "password-reset" in [step.act for step in steps]


async def test_a_reset_link_works_once(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await ask_for_reset(gateway, gateway.email)
        letter = await gateway.mailbox.letter(gateway.email)
        visitor = Visitor(gateway.url)
        token = await visitor.token(letter.path)
        passwords = [f"a good long password {n}" for n in range(5)]
        answers = await asyncio.gather(
            *(
                visitor.post("/reset", {"ticket": letter.ticket, "password": one}, token=token)
                for one in passwords
            )
        )
        assert sorted(answer.status for answer in answers) == [303, 410, 410, 410, 410]
        assert (await visitor.get(letter.path)).status == 410


async def test_one_reset_voids_the_other_links(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await ask_for_reset(gateway, gateway.email)
        first = await gateway.mailbox.letter(gateway.email)
        await ask_for_reset(gateway, gateway.email)
        second = await gateway.mailbox.letter(gateway.email, count=2)
        visitor = Visitor(gateway.url)
        fields = {"ticket": second.ticket, "password": NEW}
        assert (await visitor.post("/reset", fields, page=second.path)).status == 303
        assert (await visitor.get(first.path)).status == 410


async def test_a_reset_link_ends_after_twenty_minutes(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateways() as gateway:
        assert ticket_store.LASTS["reset"] == timedelta(minutes=20)
        monkeypatch.setitem(ticket_store.LASTS, "reset", timedelta(0))
        await ask_for_reset(gateway, gateway.email)
        letter = await gateway.mailbox.letter(gateway.email)
        visitor = Visitor(gateway.url)
        assert (await visitor.get(letter.path)).status == 410
        fields = {"ticket": letter.ticket, "password": NEW}
        assert (await visitor.post("/reset", fields, page="/login")).status == 410


async def test_a_verification_link_resets_no_password(gateways: Gateways) -> None:
    async with gateways() as gateway:
        visitor = Visitor(gateway.url)
        fields = {"email": "ann@example.com", "password": PASSWORD}
        await visitor.post("/signup", fields, page="/signup")
        letter = await gateway.mailbox.letter("ann@example.com")
        stolen = {"ticket": letter.ticket, "password": NEW}
        assert (await visitor.post("/reset", stolen, page="/login")).status == 410
        assert (await log_in(visitor, "ann@example.com", PASSWORD)).status == 303


async def test_an_unknown_address_gets_the_same_answer(gateways: Gateways) -> None:
    async with gateways() as gateway:
        unknown = "nobody@example.com"
        answers = [await ask_for_reset(gateway, email) for email in (gateway.email, unknown)]
        texts = [
            answer.raw.replace(email, "X").partition("<main")[2]
            for answer, email in zip(answers, (gateway.email, unknown), strict=True)
        ]
        assert texts[0] == texts[1]
        await gateway.mailbox.letter(gateway.email)
        assert not gateway.mailbox.letters(unknown)


async def test_tickets_are_stored_hashed(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await ask_for_reset(gateway, gateway.email)
        letter = await gateway.mailbox.letter(gateway.email)
        async for document in gateway.database["tickets"].find({}):
            assert letter.ticket.partition(".")[2] not in repr(document)
        ann = await logged_in(gateway)
        async for document in gateway.database["sessions"].find({}):
            assert not set(ann.cookies.values()) & set(map(str, document.values()))


async def test_reset_works_while_the_account_is_guessed_at(gateways: Gateways) -> None:
    """A lock-out must be no weapon: the owner still gets in by mail."""
    async with gateways() as gateway:
        await with_password(gateway)
        for _ in range(7):
            await log_in(Visitor(gateway.url), gateway.email, "wrong one")
        await ask_for_reset(gateway, gateway.email)
        letter = await gateway.mailbox.letter(gateway.email)
        visitor = Visitor(gateway.url)
        fields = {"ticket": letter.ticket, "password": NEW}
        assert (await visitor.post("/reset", fields, page=letter.path)).status == 303
        assert (await Accounts(gateway.database).by_id(gateway.account)).verified


async def test_mail_that_does_not_leave_is_admitted(gateways: Gateways) -> None:
    async with gateways(tables={"mail": {"url": "smtp://127.0.0.1:9"}}) as gateway:
        visitor = Visitor(gateway.url)
        fields = {"email": "ann@example.com", "password": PASSWORD}
        await visitor.post("/signup", fields, page="/signup")
        async with asyncio.timeout(30):
            while '"undeliverable": true' not in (await visitor.get("/verify/state")).raw:
                await asyncio.sleep(0.1)
        page = await visitor.get("/verify")
        assert 'id="undeliverable">' in page.raw
        assert "mail does not leave" in (await visitor.get("/readyz")).raw
