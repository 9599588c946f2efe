"""Passwords: log in, forgotten, guessed; and how little is told to who guesses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from itertools import count

import pytest

from ezkielyna.console import application
from ezkielyna.storage import tickets as ticket_store
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.passwords import hashed
from ezkielyna.storage.trail import read
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import Answer, Visitor, logged_in
from ezkielyna.throttle import SIGN_INS, Attempts, Patience, Rules

PASSWORD = "correct horse battery"
NEW = "another long password"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def with_password(gateway: RunningGateway) -> Visitor:
    await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
    return Visitor(gateway.url)


async def log_in(visitor: Visitor, email: str, password: str, address: str = "") -> Answer:
    """Log in; through a proxy that says so from `address`."""
    headers = {"X_Forwarded_For": address} if address else {}
    fields = {"email": email, "password": password}
    return await visitor.post("/login", fields, page="/login", **headers)


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of whoever counts attempts; it stands until the test moves it."""
    clock = Clock()
    monkeypatch.setattr(application, "Attempts", partial(Attempts, clock=clock))
    return clock


async def slowed_down(guess: Callable[[int], Awaitable[Answer]], clock: Clock) -> int:
    """Guess until three guesses had to wait; return how many were free.

    Each wait is twice the one before, and Retry-After is neither too short nor too long.
    """
    numbers, free, waits = count(), 0, list[int]()
    while (answer := await guess(next(numbers))).status == 422:
        free += 1
        assert free < 50, "nobody is slowed down"
    while len(waits) < 3:
        assert answer.status == 429
        assert "Try again in" in answer.text
        waits.append(int(answer.headers["retry-after"]))
        clock.now += waits[-1] - 1
        assert (await guess(next(numbers))).headers["retry-after"] == "1", (
            "it need not wait so long"
        )
        clock.now += 1
        assert (await guess(next(numbers))).status == 422, "it is told to come too early"
        answer = await guess(next(numbers))
    assert waits == [1, 2, 4]
    return free


async def test_guesses_at_an_account_are_slowed_down_wherever_they_come_from(
    gateways: Gateways, clock: Clock
) -> None:
    tables = {"server": {"trusted_proxies": ["127.0.0.1"]}}
    async with gateways(tables=tables) as gateway:
        await with_password(gateway)
        for email in (gateway.email, "nobody@example.com"):

            async def guess(number: int, email: str = email) -> Answer:
                return await log_in(
                    Visitor(gateway.url), email, "wrong one", f"198.51.100.{number}"
                )

            assert await slowed_down(guess, clock) == SIGN_INS.account.free + 1
        answer = await log_in(Visitor(gateway.url), "ann@example.com", "wrong", "198.51.100.0")
        assert answer.status == 422, "another account has its own patience"


async def test_guesses_from_an_address_are_slowed_down_whatever_they_try(
    gateways: Gateways, clock: Clock
) -> None:
    async with gateways() as gateway:
        visitor = await with_password(gateway)

        async def guess(number: int) -> Answer:
            return await log_in(Visitor(gateway.url), f"{number}@example.com", "wrong one")

        assert await slowed_down(guess, clock) == SIGN_INS.address.free + 1
        assert (await log_in(visitor, gateway.email, PASSWORD)).status == 429
        answer = await log_in(visitor, gateway.email, PASSWORD, "198.51.100.1")
        assert answer.status == 303, "another address has its own patience"


async def test_who_is_no_trusted_proxy_cannot_name_another_address(
    gateways: Gateways, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 2
    monkeypatch.setattr(application, "SIGN_INS", Rules(Patience(free, 30.0), SIGN_INS.account))
    async with gateways(tables={"server": {"trusted_proxies": ["192.0.2.1"]}}) as gateway:
        limited = 0
        for number in range(free + 3):
            answer = await log_in(
                Visitor(gateway.url), f"{number}@example.com", "wrong", f"198.51.100.{number}"
            )
            limited += answer.status == 429
        assert limited == 2


@pytest.mark.parametrize("several", [False, True], ids=["of an account", "from an address"])
async def test_asking_for_mails_is_slowed_down(
    gateways: Gateways, clock: Clock, *, several: bool
) -> None:
    async with gateways() as gateway:
        visitor = Visitor(gateway.url)
        token = await visitor.token("/reset")
        waits: list[int] = []
        for number in range(40):
            email = f"{number}@example.com" if several else "ann@example.com"
            answer = await visitor.post("/reset", {"email": email}, token=token)
            if answer.status == 429:
                waits.append(int(answer.headers["retry-after"]))
                assert "Try again in" in answer.text
                if waits[-1] > 1:
                    break
                clock.now += waits[-1]
        assert max(waits, default=0) > 1, "the delay does not grow"


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
