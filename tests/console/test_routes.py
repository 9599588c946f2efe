"""Every route of the console, read from its table: who may see it, and what it does with text.

A route that is added is tested by being there; one that needs an example of an id says so here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ezkielyna.console.handlers import TOPICS
from ezkielyna.console.page import POLICY, AccountPage, Page
from ezkielyna.contract.money import nano
from ezkielyna.ledger.payments import new_order
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.storage.credits import credit
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.trail import note
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.visitor import SESSION, Visitor, logged_in

ROUTES = [route for topic in TOPICS for route in topic.routes]
SIMULATED = {"plugins": ["openai", "simulator"], "payments": {"test": {"kind": "test"}}}

STREAMS = frozenset({"/live/events"})
"""Answers without an end; their rows are escaped by `live.js`, which sets text only."""

OWN_PROOF = frozenset({"/payments/([0-9A-Za-z_-]+)/webhook"})
"""Routes without a session, whose requests carry a proof of their own."""

PAYLOAD = "</title></script>'\"><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


def of_accounts() -> Iterator[str]:
    for pattern, handler in ROUTES:
        if issubclass(handler, AccountPage):
            yield pattern


async def objects(gateway: RunningGateway) -> dict[str, str]:
    """Return an id of the gateway's account for every kind of group in a route."""
    account = await Accounts(gateway.database).by_id(gateway.account)
    payment = await gateway.app.payments.order(account, "test", nano(10), new_order())
    request = ended(account.id, gateway.key_id, datetime.now(UTC), cost=1)
    await settled(gateway.database, [request])
    return {
        r"(key_\w+)": gateway.key_id,
        "/billing/payments/([0-9A-Za-z_]+)": payment.id,
        r"(req_[\w-]{1,80})": request.request_id,
        "/docs/([a-z-]+)": "errors",
        r"(acc_\w+)": account.id,
    }


def filled(pattern: str, ids: dict[str, str]) -> str:
    """Return a path for a route: the id that stands for its group, or for it and what precedes."""
    for group, id_ in ids.items():
        pattern = pattern.replace(group, group[: group.index("(")] + id_)
    assert "(" not in pattern, f"test_routes.objects needs an example of an id for {pattern}"
    return pattern.replace("\\.", ".")


def test_every_handler_has_our_headers_and_checks() -> None:
    assert all(issubclass(handler, Page) for _, handler in ROUTES)


async def test_no_page_of_an_account_is_open_to_strangers(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway:
        ids = await objects(gateway)
        stranger = Visitor(gateway.url)
        token = await stranger.token("/login")
        forged = Visitor(gateway.url, {SESSION: "0" * 43})
        for pattern in of_accounts():
            path = filled(pattern, ids)
            for visitor in (stranger, forged):
                page = await visitor.get(path)
                assert page.status == 303, path
                assert page.location.startswith("/login?next="), path
            sent = await stranger.post(path, {}, token=token)
            assert (sent.status, sent.location) in ((303, "/login"), (403, "")), path


async def test_nothing_of_another_account_is_there(gateways: Gateways) -> None:
    """Bob asks for every object of Ann's: all are as missing as what never was."""
    async with gateways(tables=SIMULATED) as gateway:
        ids = await objects(gateway)
        bob = await Accounts(gateway.database).create("bob@example.com", "default", verified=True)
        visitor, owner = await logged_in(gateway, bob.id), await logged_in(gateway)
        token = await visitor.token()
        tried = 0
        for pattern in of_accounts():
            if "(" not in pattern or pattern.startswith("/admin"):
                continue
            path = filled(pattern, ids)
            fields = {"name": "test"}
            assert (await visitor.get(path)).status == 404, path
            assert (await visitor.post(path, fields, token=token)).status in (404, 405), path
            assert (await owner.get(path)).status != 404 or "receipt" in path, path
            tried += 1
        assert tried >= 5
        key = await Keys(gateway.database, SECRET).of(gateway.account, gateway.key_id)
        assert (key.name, key.revoked_at) == ("test", None)


async def test_a_session_is_ended_by_its_own_account_only(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        found = await ConsoleSessions(gateway.database, SECRET).find(ann.cookies[SESSION])
        assert found is not None
        bob = await Accounts(gateway.database).create("bob@example.com", "default")
        visitor = await logged_in(gateway, bob.id)
        await visitor.post("/settings/sessions/end", {"session": found.id})
        assert (await ann.get("/settings")).status == 200


async def test_nothing_is_changed_without_a_token(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway:
        ids = await objects(gateway)
        ann, bob = await logged_in(gateway), Visitor(gateway.url)
        foreign = await bob.token("/login")
        for pattern, handler in ROUTES:
            if pattern in OWN_PROOF or "post" not in vars(handler):
                continue
            path = filled(pattern, ids)
            for case in ({"token": ""}, {"token": foreign}):
                assert (await ann.post(path, {}, **case)).status == 403, path
            own = await ann.token()
            crossed = await ann.post(path, {}, token=own, **{"Sec-Fetch-Site": "cross-site"})
            assert crossed.status == 403, path


async def with_payloads(gateway: RunningGateway) -> Visitor:
    """Put markup into every string that somebody else can make us store."""
    database, account = gateway.database, gateway.account
    keys = Keys(database, SECRET)
    await keys.rename(account, gateway.key_id, PAYLOAD, by=PAYLOAD)
    await keys.create(account, name=PAYLOAD, models=(PAYLOAD,), by=PAYLOAD)
    await credit(database, account, 1, reference=PAYLOAD, by=PAYLOAD, note=PAYLOAD)
    await note(database, account, PAYLOAD, by=PAYLOAD, about=PAYLOAD)
    await database["accounts"].update_one(
        {"_id": account}, {"$set": {"email": PAYLOAD, "plan": PAYLOAD}}
    )
    request = ended(account, gateway.key_id, datetime.now(UTC), model=PAYLOAD, cost=1)
    await settled(database, [request])
    sessions = ConsoleSessions(database, SECRET)
    token = await sessions.begin(account, agent=PAYLOAD, address=PAYLOAD)
    return Visitor(gateway.url, {SESSION: token})


async def test_no_stored_string_becomes_markup(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway:
        ids = await objects(gateway)
        ann = await with_payloads(gateway)
        for pattern, handler in ROUTES:
            if pattern in OWN_PROOF | STREAMS or "get" not in vars(handler):
                continue
            path = filled(pattern, ids)
            for query in ("", "?revoked=1", "?group=model", "?group=key"):
                page = await ann.get(path + query)
                assert page.status < 500, (path, page.raw[-500:])
                if "text/html" in page.headers.get("content-type", ""):
                    assert "<script>alert" not in page.raw, path
                    assert "<img src=x" not in page.raw, path


@pytest.mark.parametrize("name", ["q", "next", "sort", "page", "ticket", "until", "from", "group"])
async def test_no_argument_becomes_markup(gateways: Gateways, name: str) -> None:
    async with gateways(tables=SIMULATED) as gateway:
        ann, stranger = await logged_in(gateway), Visitor(gateway.url)
        for pattern, handler in ROUTES:
            if "(" in pattern or pattern in STREAMS or "get" not in vars(handler):
                continue
            for visitor in (ann, stranger):
                page = await visitor.get(
                    f"{pattern}?{name}=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
                )
                assert page.status < 500, pattern
                assert "<script>alert" not in page.raw, pattern
                if "text/html" in page.headers.get("content-type", ""):
                    assert page.headers["content-security-policy"] == POLICY


def test_templates_escape_unless_they_say_why() -> None:
    """`raw` is for what our own functions made: times and drawings, never a stored string."""
    from ezkielyna.console.application import HERE

    allowed = re.compile(
        r"\{% raw (when|day|[a-z_.]*(svg|chart|drawing|figure|html|markup)[a-z_.]*)\b"
    )
    for path in (HERE / "templates").rglob("*.html"):
        text = path.read_text()
        assert "autoescape" not in text, path
        for found in re.finditer(r"\{% raw [^%]*%\}", text):
            assert allowed.match(found.group()), f"{path.name}: {found.group()}"
