"""Pages for operators: not there for anybody else, and whatever is done says who did it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from ezkielyna.console.handlers import TOPICS
from ezkielyna.console.handlers.admin import OperatorPage
from ezkielyna.contract.limits import Override
from ezkielyna.contract.money import nano
from ezkielyna.storage import trail
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.visitor import Visitor, logged_in

BOSS = "boss@example.com"
TABLES = {"accounts": {"operators": [f" {BOSS.upper()} "]}}
PAYLOAD = "</title><script>alert(1)</script>"
ROUTES = [route for topic in TOPICS for route in topic.routes if route[0].startswith("/admin")]
REFERENCE = re.compile(r'name="reference" value="(manual_\w+)"')


@asynccontextmanager
async def office(gateways: Gateways) -> AsyncIterator[tuple[RunningGateway, Visitor]]:
    """Give a gateway and the operator, logged in."""
    async with gateways(tables=TABLES) as gateway:
        boss = await Accounts(gateway.database).create(BOSS, "default", verified=True)
        yield gateway, await logged_in(gateway, boss.id)


def paths(account: str) -> list[str]:
    return [pattern.replace(r"(acc_\w+)", account) for pattern, _ in ROUTES]


def test_every_page_is_for_operators() -> None:
    assert len(ROUTES) > 4
    assert all(issubclass(handler, OperatorPage) for _, handler in ROUTES)


async def test_for_others_the_pages_are_not_there(gateways: Gateways) -> None:
    """Customers, operators whose address is not proven, and suspended ones."""
    async with gateways(tables=TABLES) as gateway:
        accounts = Accounts(gateway.database)
        ann = await logged_in(gateway)
        unproven = await accounts.create(BOSS, "default", verified=False)
        visitors = [ann, await logged_in(gateway, unproven.id)]
        for visitor in visitors:
            token = await visitor.token()
            for path in paths(gateway.account):
                assert (await visitor.get(path)).status == 404, path
                sent = await visitor.post(path, {"act": "suspend"}, token=token)
                assert sent.status in (404, 405), path
            assert 'href="/admin"' not in (await visitor.get("/settings")).raw
        await gateway.database["accounts"].update_one(
            {"_id": unproven.id}, {"$set": {"verified": True, "status": "suspended"}}
        )
        assert (await visitors[1].get("/admin")).status == 404
        await accounts.resume(BOSS)
        assert (await visitors[1].get("/admin")).status == 200
        assert (await accounts.by_id(gateway.account)).status == "active"


async def test_accounts_are_found_page_by_page(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        accounts = Accounts(gateway.database)
        made = [(await accounts.create(f"c{n:03}@example.org", "default")).email for n in range(60)]
        seen: list[str] = []
        path = "/admin/accounts?q=C0"
        while path:
            page = await boss.get(path)
            seen += re.findall(r">(c\d+@example\.org)</a>", page.raw)
            following = re.search(r'rel="next" href="([^"]+)"', page.raw)
            path = following.group(1).replace("&amp;", "&") if following else ""
        assert seen == made
        assert gateway.email in (await boss.get(f"/admin/accounts?q={gateway.email[:5]}")).text
        assert "No account begins so" in (await boss.get("/admin/accounts?q=zz")).text
        assert "Serving" in (await boss.get("/admin")).text


async def test_money_is_booked_in_two_steps_and_once(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        path = f"/admin/accounts/{gateway.account}"
        found = REFERENCE.search((await boss.get(path)).raw)
        assert found is not None
        form = {"amount": "2.50", "reason": "a lost day", "reference": found.group(1)}
        shown = await boss.post(f"{path}/credit", form)
        assert "Balance then" in shown.text
        assert "$7.50" in shown.text
        accounts = Accounts(gateway.database)
        assert (await accounts.by_id(gateway.account)).balance == nano("5")
        for _ in range(2):
            done = await boss.post(f"{path}/credit", {**form, "confirmed": "yes"})
            assert (done.status, done.location) == (303, path)
        assert (await accounts.by_id(gateway.account)).balance == nano("7.5")
        [step, *_] = await trail.read(gateway.database, gateway.account)
        assert (step.act, step.by, step.about) == ("credit", f"operator {BOSS}", "a lost day")
        assert "a lost day" in (await (await logged_in(gateway)).get("/settings/history")).text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amount": "much"}, "write an amount such as 5 or -2.50"),
        ({"amount": "0"}, "other than 0"),
        ({"amount": "1000.01"}, "books larger ones"),
        ({"amount": "-5.01"}, "cannot be taken away"),
        ({"reason": ""}, "Say why"),
        ({"reference": "mine"}, "this form is not ours"),
    ],
)
async def test_what_cannot_be_booked_says_why(
    gateways: Gateways, changes: dict[str, str], says: str
) -> None:
    async with office(gateways) as (gateway, boss):
        path = f"/admin/accounts/{gateway.account}/credit"
        form = {"amount": "1", "reason": "why", "reference": "manual_" + "a" * 20}
        answer = await boss.post(path, {**form, "confirmed": "yes", **changes})
        assert answer.status in (400, 422)
        assert says in answer.text
        balance = (await Accounts(gateway.database).by_id(gateway.account)).balance
        assert balance == nano("5")


async def test_an_account_is_suspended_and_goes_on(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        accounts = Accounts(gateway.database)
        path = f"/admin/accounts/{gateway.account}"
        for act, status in (("suspend", "suspended"), ("resume", "active")):
            done = await boss.post(f"{path}/status", {"act": act})
            assert (done.status, done.location) == (303, path)
            assert (await accounts.by_id(gateway.account)).status == status
        steps = await trail.read(gateway.database, gateway.account, limit=2)
        assert {(step.act, step.by) for step in steps} == {
            ("account-suspended", f"operator {BOSS}"),
            ("account-resumed", f"operator {BOSS}"),
        }
        own = await accounts.by_email(BOSS)
        refused = await boss.post(f"/admin/accounts/{own.id}/status", {"act": "suspend"})
        assert refused.status == 400
        assert (await accounts.by_id(own.id)).status == "active"
        assert (await boss.get("/admin/accounts/acc_nobody")).status == 404


async def test_limits_are_raised_and_the_trail_says_so(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        accounts = Accounts(gateway.database)
        own = Override(tpm=7, models=(("gpt*", Override(rpm=3)),))
        await accounts.set_limits(gateway.email, own)
        path = f"/admin/accounts/{gateway.account}"
        assert "Single models are limited apart: gpt*" in (await boss.get(path)).text
        form = {"rpm": "1,200", "tpm": "", "tpd": "0", "concurrency": "5"}
        done = await boss.post(f"{path}/limits", form)
        assert (done.status, done.location) == (303, path)
        changed = await accounts.by_id(gateway.account)
        assert changed.limits == Override(1200, None, 0, 5, own.models)
        [step, *_] = await trail.read(gateway.database, gateway.account)
        assert (step.act, step.by) == ("account-limited", f"operator {BOSS}")
        assert step.about == "rpm 1200, tpd none, concurrency 5, gpt* rpm 3"
        shown = await boss.get(path)
        assert re.search(r'id="field-rpm" name="rpm" type="text" value="1200"', shown.raw)
        for wrong in ("-1", "many", "1.5", "9" * 20, "²"):
            refused = await boss.post(f"{path}/limits", {"rpm": wrong})
            assert refused.status == 422
            assert "Write a whole number" in refused.text
        assert (await accounts.by_id(gateway.account)).limits == changed.limits
        lifted = await boss.post(f"{path}/limits", {})
        assert lifted.status == 303
        assert (await accounts.by_id(gateway.account)).limits == Override(models=own.models)


async def test_an_account_shows_what_it_spends(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        now = datetime.now(UTC)
        records = [
            ended(gateway.account, gateway.key_id, now - timedelta(days=days), cost=cost)
            for days, cost in ((0, 20_000_000), (1, 30_000_000), (20, 50_000_000))
        ]
        await settled(gateway.database, records)
        page = await boss.get(f"/admin/accounts/{gateway.account}")
        assert "<dt>Spent today</dt><dd>$0.02</dd>" in page.text
        assert "<dd>$0.05, $0.10</dd>" in page.text
        assert "<span>$0.10</span>" in page.text, "of the key"


async def test_what_customers_wrote_is_text(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        await Keys(gateway.database, SECRET).create(gateway.account, name=PAYLOAD, by=PAYLOAD)
        await gateway.database["accounts"].update_one(
            {"_id": gateway.account}, {"$set": {"email": PAYLOAD, "plan": PAYLOAD}}
        )
        request = ended(gateway.account, "k", datetime.now(UTC), model=PAYLOAD, cost=1)
        await settled(gateway.database, [request])
        for path in ("/admin", "/admin/accounts", f"/admin/accounts/{gateway.account}"):
            page = await boss.get(path)
            assert page.status == 200
            assert PAYLOAD in page.text
            assert PAYLOAD not in page.raw
        form = {"amount": "1", "reason": PAYLOAD, "reference": "manual_" + "a" * 20}
        shown = await boss.post(f"/admin/accounts/{gateway.account}/credit", form)
        assert PAYLOAD in shown.text
        assert PAYLOAD not in shown.raw
