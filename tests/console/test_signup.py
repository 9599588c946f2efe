"""From a stranger to a customer: sign up, verify by link or code, and what is never told."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest

from ezkielyna.storage import tickets as ticket_store
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.errors import Missing
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import SESSION, Answer, Visitor

EMAIL = "ann@example.com"
PASSWORD = "correct horse battery"


async def sign_up(
    gateway: RunningGateway, email: str = EMAIL, password: str = PASSWORD
) -> tuple[Visitor, Answer]:
    visitor = Visitor(gateway.url)
    fields = {"email": email, "password": password}
    return visitor, await visitor.post("/signup", fields, page="/signup")


async def log_in(visitor: Visitor, email: str = EMAIL, password: str = PASSWORD) -> Answer:
    return await visitor.post("/login", {"email": email, "password": password}, page="/login")


async def test_sign_up_verify_by_link_log_in(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, answer = await sign_up(gateway, "Ann@Example.com")
        assert (answer.status, answer.location) == (303, "/verify")
        assert SESSION not in ann.cookies
        assert EMAIL in (await ann.get("/verify")).text
        letter = await gateway.mailbox.letter(EMAIL)
        phone = Visitor(gateway.url)
        shown = await phone.get(letter.path)
        assert "Verify e-mail</button>" in shown.raw
        assert not (await Accounts(gateway.database).by_email(EMAIL)).verified
        done = await phone.post("/verify", {"ticket": letter.ticket}, page=letter.path)
        assert (done.status, done.location) == (303, "/login")
        account = await Accounts(gateway.database).by_email(EMAIL)
        assert account.verified
        assert account.balance == 500_000_000
        assert (await log_in(ann)).status == 303
        assert "$0.50" in (await ann.get("/settings")).text


async def test_the_code_works_in_the_browser_that_signed_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, _ = await sign_up(gateway)
        code = (await gateway.mailbox.letter(EMAIL)).code
        stranger = Visitor(gateway.url)
        assert (await stranger.post("/verify", {"code": code}, page="/login")).status == 303
        assert not (await Accounts(gateway.database).by_email(EMAIL)).verified
        spaced = f" {code[:3]} {code[3:]} "
        done = await ann.post("/verify", {"code": spaced}, page="/verify")
        assert done.location == "/login"
        assert (await Accounts(gateway.database).by_email(EMAIL)).verified


async def test_a_code_dies_of_guesses(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, _ = await sign_up(gateway)
        code = (await gateway.mailbox.letter(EMAIL)).code
        wrong = f"{(int(code) + 1) % 10**6:06d}"
        token = await ann.token("/verify")
        for _ in range(ticket_store.MOST_TRIES):
            assert (await ann.post("/verify", {"code": wrong}, token=token)).status == 422
        assert (await ann.post("/verify", {"code": code}, token=token)).status == 422
        assert not (await Accounts(gateway.database).by_email(EMAIL)).verified


async def test_mail_scanners_use_nothing_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await sign_up(gateway)
        letter = await gateway.mailbox.letter(EMAIL)
        scanner = Visitor(gateway.url)
        for method in ("GET", "HEAD", "GET"):
            assert (await scanner.send(method, letter.path, None, {})).status == 200
        done = await scanner.post("/verify", {"ticket": letter.ticket}, page=letter.path)
        assert done.status == 303


async def test_a_link_works_once_however_many_press_at_once(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await sign_up(gateway)
        letter = await gateway.mailbox.letter(EMAIL)
        visitor = Visitor(gateway.url)
        token = await visitor.token(letter.path)
        answers = await asyncio.gather(
            *(visitor.post("/verify", {"ticket": letter.ticket}, token=token) for _ in range(8))
        )
        assert sorted(answer.status for answer in answers) == [303] + [410] * 7
        assert (await Accounts(gateway.database).by_email(EMAIL)).balance == 500_000_000


async def test_an_old_link_offers_a_new_one(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateways() as gateway:
        monkeypatch.setitem(ticket_store.LASTS, "verify", timedelta(0))
        await sign_up(gateway)
        old = await gateway.mailbox.letter(EMAIL)
        monkeypatch.undo()
        phone = Visitor(gateway.url)
        page = await phone.get(old.path)
        assert page.status == 410
        assert "Send a new link" in page.text
        assert (await phone.post("/verify", {"ticket": old.ticket}, page=old.path)).status == 410
        await phone.post("/verify/resend", {"ticket": old.ticket}, page=old.path)
        new = await gateway.mailbox.letter(EMAIL, count=2)
        assert (await phone.post("/verify", {"ticket": new.ticket}, page=new.path)).status == 303


@pytest.mark.parametrize("ticket", ["", "x", "tic_x.y", "tic_x." + "y" * 3000, "a.b.c", "\x00."])
async def test_a_link_that_nobody_made(gateways: Gateways, ticket: str) -> None:
    async with gateways() as gateway:
        visitor = Visitor(gateway.url)
        answer = await visitor.post("/verify", {"ticket": ticket}, page="/login")
        assert answer.status in (303, 400, 410)
        assert answer.location in ("", "/login?next=%2Fverify")


async def test_a_known_address_is_answered_like_an_unknown_one(gateways: Gateways) -> None:
    def masked(answer: Answer, email: str) -> tuple[Any, ...]:
        names = sorted(line.partition("=")[0] for line in answer.set_cookies)
        varies = r'value="[0-9a-f]{64}"|req_\w+|data-wait="\d+"'
        text = re.sub(varies, "", answer.raw.replace(email, "EMAIL"))
        return answer.status, answer.location, names, text

    async with gateways() as gateway:
        ann, first = await sign_up(gateway)
        bob, second = await sign_up(gateway, gateway.email)
        assert masked(first, EMAIL) == masked(second, gateway.email)
        pages = ("/verify", "/verify/state", "/verify/done")
        for path in pages:
            one, other = await ann.get(path), await bob.get(path)
            assert masked(one, EMAIL) == masked(other, gateway.email), path
        wrong = [
            await who.post("/verify", {"code": "123456"}, page="/verify") for who in (ann, bob)
        ]
        assert masked(wrong[0], EMAIL) == masked(wrong[1], gateway.email)
        letter = await gateway.mailbox.letter(gateway.email)
        assert "account already" in letter.subject
        assert "/reset?ticket=" in letter.link


async def test_signing_up_again_changes_no_password(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await sign_up(gateway)
        await sign_up(gateway, password="another long password")
        assert (await log_in(Visitor(gateway.url), password="another long password")).status == 422
        assert (await log_in(Visitor(gateway.url))).status == 303


async def test_who_signed_up_first_keeps_nothing_of_anothers_mailbox(gateways: Gateways) -> None:
    """A stranger signs up with Ann's address; Ann signs up, gets a reset link, and is alone."""
    async with gateways() as gateway:
        await sign_up(gateway, password="the strangers password")
        stranger = Visitor(gateway.url)
        await log_in(stranger, password="the strangers password")
        assert (await stranger.get("/settings")).status == 200
        await sign_up(gateway)
        letter = await gateway.mailbox.letter(EMAIL, count=2)
        ann = Visitor(gateway.url)
        fields = {"ticket": letter.ticket, "password": PASSWORD}
        assert (await ann.post("/reset", fields, page=letter.path)).status == 303
        assert (await stranger.get("/settings")).status == 303
        assert (await log_in(stranger, password="the strangers password")).status == 422
        assert (await Accounts(gateway.database).by_email(EMAIL)).verified


@pytest.mark.parametrize(
    ("email", "password", "says"),
    [
        ("nobody", PASSWORD, "not an e-mail address"),
        ("a,b@example.com", PASSWORD, "not an e-mail address"),
        (f"{'a' * 250}@example.com", PASSWORD, "not an e-mail address"),
        (EMAIL, "short", "at least 8 characters"),
        (EMAIL, "password", "common password"),
        (EMAIL, "aaaaaaaaaa", "a longer phrase"),
        (EMAIL, "ann@example.com", "a longer phrase"),
    ],
)
async def test_errors_stand_at_their_field(
    gateways: Gateways, email: str, password: str, says: str
) -> None:
    async with gateways() as gateway:
        _, answer = await sign_up(gateway, email, password)
        assert answer.status == 422
        assert says in answer.text
        field = "email" if "address" in says else "password"
        assert f'aria-describedby="field-{field}-error' in answer.raw
        assert f'value="{password}"' not in answer.raw or password == email
        with pytest.raises(Missing):
            await Accounts(gateway.database).by_email(EMAIL)


async def test_sign_ups_can_be_closed(gateways: Gateways) -> None:
    async with gateways(tables={"accounts": {"signup": False}}) as gateway:
        visitor = Visitor(gateway.url)
        assert "takes no sign-ups" in (await visitor.get("/signup")).text
        assert "/signup" not in (await visitor.get("/")).raw
        fields = {"email": EMAIL, "password": PASSWORD}
        assert (await visitor.post("/signup", fields)).status == 403
        with pytest.raises(Missing):
            await Accounts(gateway.database).by_email(EMAIL)


async def test_a_mailbox_gets_its_welcome_credit_once(gateways: Gateways) -> None:
    async with gateways() as gateway:
        for email in (EMAIL, "ann+second@example.com"):
            await sign_up(gateway, email)
            letter = await gateway.mailbox.letter(email)
            visitor = Visitor(gateway.url)
            await visitor.post("/verify", {"ticket": letter.ticket}, page=letter.path)
        accounts = Accounts(gateway.database)
        assert (await accounts.by_email(EMAIL)).balance == 500_000_000
        second = await accounts.by_email("ann+second@example.com")
        assert (second.verified, second.balance) == (True, 0)


async def test_the_unverified_may_log_in_and_are_told(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, _ = await sign_up(gateway)
        await log_in(ann)
        assert "not verified yet" in (await ann.get("/settings")).text
        code = (await gateway.mailbox.letter(EMAIL)).code
        other = Visitor(gateway.url)
        await log_in(other)
        done = await other.post("/verify", {"code": code}, page="/verify")
        assert done.status == 303
        assert "not verified yet" not in (await other.get("/settings")).text


async def test_another_mail_after_a_minute(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateways() as gateway:
        ann, _ = await sign_up(gateway)
        await gateway.mailbox.letter(EMAIL)
        await ann.post("/verify/resend", page="/verify")
        assert "Wait " in (await ann.get("/verify")).text
        assert len(gateway.mailbox.letters(EMAIL)) == 1
        monkeypatch.setattr("ezkielyna.console.pending.RESEND_S", -1)
        await ann.post("/verify/resend", page="/verify")
        letter = await gateway.mailbox.letter(EMAIL, count=2)
        done = await ann.post("/verify", {"code": letter.code}, page="/verify")
        assert done.location == "/login"


async def test_links_are_made_of_the_configured_address(gateways: Gateways) -> None:
    tables = {"server": {"public_url": "https://gateway.example"}}
    async with gateways(tables=tables) as gateway:
        visitor = Visitor(gateway.url)
        page = await visitor.get("/signup", Host="evil.example")
        token = page.raw.partition('name="_csrf" value="')[2][:64]
        cookie = page.set_cookies[0].partition(";")[0]
        form = f"_csrf={token}&email={EMAIL}&password={PASSWORD.replace(' ', '+')}"
        headers = {"Host": "evil.example", "Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        answer = await visitor.send("POST", "/signup", form, headers)
        assert answer.status == 303
        letter = await gateway.mailbox.letter(EMAIL)
        assert letter.link.startswith("https://gateway.example/verify?")
        assert "evil" not in letter.text + letter.html
