"""Activity: found, filtered, paged without loss; each bill computes again from what it shows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.console.handlers.activity import SIZE, line_product
from ezkielyna.contract.usage import Usage
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.requests import EPOCH, MILLISECOND, Place
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import Visitor, logged_in

NOW = datetime.now(UTC)
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def listed(page: str) -> list[str]:
    return re.findall(r'href="/activity/(req_\w+)"', page)


async def test_pages_lose_and_repeat_nothing(gateways: Gateways) -> None:
    """Also where many began in the same millisecond, and while new ones come in."""
    async with gateways() as gateway:
        records = [
            ended(gateway.account, gateway.key_id, NOW - timedelta(seconds=n // 40), cost=n)
            for n in range(2 * SIZE + 10)
        ]
        await settled(gateway.database, records)
        ann = await logged_in(gateway)
        seen: list[str] = []
        path = "/activity"
        while path:
            page = await ann.get(path)
            seen += listed(page.raw)
            older = re.search(r'href="([^"]*after=[^"]*)"', page.raw)
            path = older.group(1).replace("&amp;", "&") if older else ""
            new = ended(gateway.account, gateway.key_id, datetime.now(UTC), cost=1)
            await settled(gateway.database, [new])
    assert len(seen) == len(set(seen))
    assert set(seen) == {record.request_id for record in records}
    assert "is not stored" in page.text


async def test_filters(gateways: Gateways) -> None:
    async with gateways() as gateway:
        day = NOW - timedelta(days=3)
        a = ended(gateway.account, gateway.key_id, NOW, model="a", cost=1)
        b = ended(gateway.account, "key_2", NOW, model="b", cost=1)
        bad = ended(gateway.account, "key_2", day, outcome="upstream_failed", status=502)
        gone = ended(gateway.account, "key_2", NOW - timedelta(days=40), cost=1)
        await settled(gateway.database, [a, b, bad, gone])
        ann = await logged_in(gateway)

        async def found(words: str) -> set[str]:
            return set(listed((await ann.get(f"/activity?{words}")).raw))

        assert await found("") == {one.request_id for one in (a, b, bad)}
        assert await found("model=a") == {a.request_id}
        assert await found("key=key_2") == {b.request_id, bad.request_id}
        assert await found("status=failed-any") == {bad.request_id}
        assert await found("status=ok") == {a.request_id, b.request_id}
        assert await found(f"first={day:%Y-%m-%d}&last={day:%Y-%m-%d}") == {bad.request_id}
        assert await found(f"first={NOW - timedelta(days=41):%Y-%m-%d}&status=ok") >= {
            gone.request_id
        }
        none = await ann.get("/activity?model=nothing")
        wrong = await ann.get("/activity?first=soon")
        by_id = await ann.get(f"/activity?id={a.request_id}")
        unknown = await ann.get("/activity?id=req_unknown")
    assert "No requests match" in none.text
    assert "Clear the filters" in none.text
    assert wrong.status == 400
    assert by_id.status == 303
    assert by_id.location == f"/activity/{a.request_id}"
    assert "No requests match" in unknown.text


async def test_a_bill_line_by_line(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
        ann = await logged_in(gateway)
        id_ = answer.headers["x-request-id"]
        for _ in range(200):
            page = await ann.get(f"/activity/{id_}")
            if page.status == 200:
                break
    assert page.status == 200
    for text in ("$2.50 per million", "$10.00 per million", "$0.000020000", "$0.00004"):
        assert text in page.text, text
    assert "the provider's own numbers" in page.text
    assert "not stored" in page.text


async def test_requests_of_others_are_not_there(gateways: Gateways) -> None:
    async with gateways() as gateway:
        stranger = await Accounts(gateway.database).create("b@example.org", "default")
        theirs = ended(stranger.id, "key_b", NOW, cost=7, model="secret-model")
        await settled(gateway.database, [theirs])
        ann = await logged_in(gateway)
        detail = await ann.get(f"/activity/{theirs.request_id}")
        listing = await ann.get("/activity?model=secret-model")
        by_id = await ann.get(f"/activity?id={theirs.request_id}")
        out = await Visitor(gateway.url).get("/activity")
    assert detail.status == 404
    assert not listed(listing.raw)
    assert by_id.status == 200
    assert out.status == 303


async def test_strings_are_text(gateways: Gateways) -> None:
    evil = "<script>alert(1)</script>"
    async with gateways() as gateway:
        record = ended(gateway.account, "key_x", NOW, model=evil, usage=Usage(input=1))
        record.provider, record.flags = evil, [evil]
        await settled(gateway.database, [record])
        ann = await logged_in(gateway)
        pages = [
            await ann.get(path)
            for path in (
                "/activity",
                f"/activity/{record.request_id}",
                "/overview",
                "/activity?model=%3Cscript%3E&id=%22%3E%3Cscript%3E&after=%3Cb",
            )
        ]
    for page in pages:
        assert page.status == 200
        assert "<script>alert" not in page.raw


@given(st.integers(0, 10**9), st.integers(0, 10**13))
def test_products_are_exact(quantity: int, rate: int) -> None:
    text = line_product({"bucket": "input", "quantity": quantity, "rate": rate})
    whole, _, digits = text.removeprefix("$").partition(".")
    assert int(whole + digits.ljust(15, "0")) == quantity * rate


@given(st.integers(0, 10**13), st.from_regex(r"req_\w+", fullmatch=True))
def test_a_place_comes_back(at: int, id_: str) -> None:
    place = Place(EPOCH + at * MILLISECOND, id_)
    assert Place.of(str(place)) == place
    for wrong in ("", "x", "12", "-a", "1e3-a", "9" * 15 + "-a"):
        assert Place.of(wrong) is None
