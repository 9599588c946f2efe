"""Keys in the console: made once, seen once, found among many, renamed, revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keyformat import well_formed
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.trail import read
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Line
from ezkielyna.testing.visitor import Answer, Visitor, logged_in

_KEY = re.compile(r'aria-label="Your new key">(ez-\w+)<')


def key_in(page: Answer) -> str:
    found = _KEY.search(page.raw)
    assert found is not None
    return found.group(1)


async def acts(gateway: RunningGateway) -> list[tuple[str, str, str]]:
    steps = await read(gateway.database, gateway.account)
    return [(step.act, step.by, step.about) for step in reversed(steps)]


async def test_a_key_is_made_and_shown_once(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        page = await ann.post("/keys", {"name": "laptop"}, page="/keys")
        assert page.status == 200
        assert page.headers["cache-control"] == "no-store"
        key = key_in(page)
        assert well_formed(key)
        assert page.raw.count(key) == 1
        hint = f"ez-…{key[-4:]}"
        assert hint in page.text
        again = await ann.get("/keys")
        assert key not in again.raw
        assert hint in again.text
        async with await Line.open(gateway.url) as line:
            assert (await line.get("/v1/models", key)).status == 200
        assert ("key-created", "console", f"laptop ({hint})") in await acts(gateway)


async def test_all_that_can_be_wished(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        fields = {"name": "narrow", "limit": "$2.50", "models": "gpt-lab", "days": "30"}
        await ann.post("/keys", fields, page="/keys")
        keys = Keys(gateway.database, SECRET)
        (key,), _ = await keys.page(gateway.account, text="narrow")
        assert key.limit == 2_500_000_000
        assert key.models == ("gpt-lab",)
        assert key.expires_at is not None
        assert (key.expires_at - key.created_at).days in (29, 30)
        page = await ann.get("/keys")
        assert "$2.50" in page.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": " "}, "Give the key a name"),
        ({"name": "x" * 65}, "at most 64"),
        ({"name": "a\u202eb"}, "can be printed"),
        ({"limit": "much"}, "not an amount"),
        ({"limit": "-1"}, "more than nothing"),
        ({"limit": "0"}, "more than nothing"),
        ({"limit": "0.0000000001"}, "nine decimals"),
        ({"limit": "9" * 30}, "out of range"),
        ({"models": "secret-model"}, "You cannot use"),
        ({"days": "9999"}, "Choose how long"),
    ],
)
async def test_what_cannot_be_wished(
    gateways: Gateways, changes: dict[str, str], says: str
) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        page = await ann.post("/keys", {"name": "laptop", **changes}, page="/keys")
        assert page.status == 422
        assert says in page.text
        assert "data-open" in page.raw
        _, total = await Keys(gateway.database, SECRET).page(gateway.account)
        assert total == 1


async def test_rename_and_revoke(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        await ann.get(f"/keys/{gateway.key_id}/rename")
        await ann.post(f"/keys/{gateway.key_id}/rename", {"name": "server"}, page="/keys")
        assert "server" in (await ann.get("/keys")).text
        wrong = await ann.post(f"/keys/{gateway.key_id}/revoke", {"name": "test"})
        assert wrong.status == 422
        assert "Type server to revoke it" in wrong.text
        done = await ann.post(f"/keys/{gateway.key_id}/revoke", {"name": "server"})
        assert done.location == "/keys"
        key = await Keys(gateway.database, SECRET).of(gateway.account, gateway.key_id)
        assert key.revoked_at is not None
        await ann.get("/keys")
        assert ">server<" not in (await ann.get("/keys")).text
        assert "revoked" in (await ann.get("/keys?revoked=1")).text
        hint = key.hint
        assert [act for act in await acts(gateway) if act[0].startswith("key-")] == [
            ("key-created", "unknown", f"test ({hint})"),
            ("key-renamed", "console", f"test ({hint}) is now server"),
            ("key-revoked", "console", f"server ({hint})"),
        ]


async def test_another_accounts_keys_are_not_there(gateways: Gateways) -> None:
    async with gateways() as gateway:
        bob = await Accounts(gateway.database).create("bob@example.com", "default", verified=True)
        visitor = await logged_in(gateway, bob.id)
        for act in ("rename", "revoke"):
            path = f"/keys/{gateway.key_id}/{act}"
            assert (await visitor.get(path)).status == 404
            assert (await visitor.post(path, {"name": "test"})).status == 404
        key = await Keys(gateway.database, SECRET).of(gateway.account, gateway.key_id)
        assert (key.name, key.revoked_at) == ("test", None)


async def test_many_keys_are_searched_sorted_and_paged(gateways: Gateways) -> None:
    async with gateways() as gateway:
        keys = Keys(gateway.database, SECRET)
        for n in range(30):
            await keys.create(gateway.account, name=f"worker {n:02d}")
        ann = await logged_in(gateway)

        def names(page: Answer) -> list[str]:
            return re.findall(r'<span class="clip">([^<]+)<', page.raw)

        first = names(await ann.get("/keys"))
        second = names(await ann.get("/keys?page=2"))
        assert (len(first), len(second)) == (25, 6)
        assert first[0] == "worker 29"
        assert not set(first) & set(second)
        assert names(await ann.get("/keys?sort=name"))[:2] == ["test", "worker 00"]
        assert names(await ann.get("/keys?q=ER+07")) == ["worker 07"]
        assert names(await ann.get("/keys?q=.*")) == []
        assert "No key matches" in (await ann.get("/keys?q=.*")).text
        for odd in ("page=0", "page=-1", "page=x", "sort=hash", "page=99999999999999999999"):
            assert (await ann.get(f"/keys?{odd}")).status == 200


async def test_the_dialog_and_the_key(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/keys")
            await page.get_by_role("button", name="Create key").click()
            await page.get_by_label("Name").fill("laptop")
            await page.get_by_role("button", name="Create", exact=True).click()
            key = await page.get_by_label("Your new key").inner_text()
            assert well_formed(key)
            await page.get_by_role("button", name="Copy the key").click()
            assert await page.evaluate("navigator.clipboard.readText()") == key
            await page.reload()
            assert await page.get_by_label("Your new key").count() == 0
            assert await page.get_by_role("row").filter(has_text="laptop").count() == 1
            row = page.get_by_role("row").filter(has_text="laptop")
            await row.get_by_role("button", name="Rename").click()
            await row.get_by_label("Name").fill("tablet")
            await page.keyboard.press("Enter")
            row = page.get_by_role("row").filter(has_text="tablet")
            await row.get_by_role("button", name="Revoke").click()
            await page.get_by_label("Name").fill("tablet")
            await page.get_by_role("button", name="Revoke").click()
            await page.get_by_text("The key tablet is revoked").wait_for()
            assert await page.get_by_role("row").filter(has_text="tablet").count() == 0

        await browser.visit(walk, url=gateway.url, cookies=ann.cookies)


async def test_the_dialog_gives_the_focus_back(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/keys")
            await page.get_by_role("button", name="Create key").focus()
            await page.keyboard.press("Enter")
            await page.get_by_role("dialog").wait_for()
            await page.keyboard.press("Escape")
            focused = await page.evaluate("document.activeElement.textContent")
            assert focused.strip() == "Create key"

        await browser.visit(walk, url=gateway.url, cookies=ann.cookies)


async def test_keys_without_scripts(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/keys")
            await page.get_by_role("button", name="Create key").click()
            await page.get_by_label("Name").fill("plain")
            await page.get_by_role("button", name="Create", exact=True).click()
            assert well_formed(await page.get_by_label("Your new key").inner_text())

        await browser.visit(walk, url=gateway.url, cookies=ann.cookies, scripts=False)


async def test_the_pages_of_keys(gateways: Gateways, browser: Browser) -> None:
    async def opened(page: Any) -> None:
        if page.url.endswith("/keys"):
            await page.get_by_role("button", name="Create key").click()

    async with gateways() as gateway:
        ann: Visitor = await logged_in(gateway)
        await Keys(gateway.database, SECRET).create(gateway.account, name="x" * 64, limit=1)
        paths = ["/keys?sort=name", f"/keys/{gateway.key_id}/revoke", "/keys?q=nothing", "/keys"]
        await browser.inspect(gateway.url, paths, cookies=ann.cookies, prepare=opened)
