"""Pages of plugins: in the frame, behind the log-in, under our policy; what cannot be is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ezkielyna.app import App
from ezkielyna.console.page import POLICY
from ezkielyna.console.plugin_pages import with_pages
from ezkielyna.contract.context import Route
from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.pages import ConsolePage, Visit
from ezkielyna.plugins import PluginRefused, Registries, load_plugins
from ezkielyna.settings import load
from ezkielyna.storage.database import Database
from ezkielyna.testing.gateway import SECRET, Gateways
from ezkielyna.testing.visitor import Visitor, logged_in

FORM = (
    '<p>{{ account.email }} {{ said }} {{ query.get("colour", "-") }}</p>'
    '<form method="post">{% module Csrf() %}<input name="word"></form>'
)
MARKUP = "<script>alert(1)</script>"


async def birds(visit: Visit) -> Mapping[str, Any]:
    said = (visit.form or {}).get("word", "nothing")
    if said == "silence":
        raise InvalidRequest("Say something.")
    if said == "crash":
        raise ZeroDivisionError
    return {"said": f"{visit.account.id} said {said}", "query": visit.query}


BIRDS = ConsolePage("/birds", "Birds", FORM, birds, icon="pulse", order=15, posts=True)
STILL = ConsolePage("/birds/still", "Still", "<p>Hush</p>")


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plugin offer the two pages to every gateway."""
    pages = [("aviary", BIRDS), ("aviary", STILL)]
    monkeypatch.setattr(Registries, "console_pages", lambda *_: pages)


async def test_a_page_stands_in_the_frame_for_who_is_logged_in(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        page = await ann.get("/birds?colour=%3Cb%3Ered")
        assert page.status == 200
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["cache-control"] == "no-store"
        assert "<h1>Birds</h1>" in page.raw
        assert "<title>Birds · Ezkielyna</title>" in page.raw
        assert f"{gateway.email} {gateway.account} said nothing &lt;b&gt;red" in page.raw
        menu = page.raw.partition('class="side"')[2].partition("</nav>")[0]
        assert '<a href="/birds" aria-current="page">' in menu
        assert menu.index("/activity") < menu.index("/birds") < menu.index("/keys")
        assert "/birds" in (await ann.get("/settings")).raw, "the entry is in every menu"
        assert "Hush" in (await ann.get("/birds/still")).raw
        stranger = await Visitor(gateway.url).get("/birds?colour=red")
        assert (stranger.status, stranger.location) == (303, "/login?next=%2Fbirds%3Fcolour%3Dred")
        assert "/birds" not in (await Visitor(gateway.url).get("/login")).raw


async def test_a_form_needs_its_token_and_is_shown_escaped(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, bob = await logged_in(gateway), Visitor(gateway.url)
        page = await ann.post("/birds", {"word": MARKUP}, page="/birds")
        assert page.status == 200
        assert f"said {MARKUP}" in page.text
        assert MARKUP not in page.raw
        for token in ("", await bob.token("/login")):
            assert (await ann.post("/birds", {"word": "hi"}, token=token)).status == 403
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert (await ann.post("/birds", {}, page="/birds", **foreign)).status == 403
        assert (await ann.post("/birds/still", {})).status == 405


async def test_what_a_plugin_raises_is_an_error_page_that_names_it_in_the_log(
    gateways: Gateways,
) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        refused = await ann.post("/birds", {"word": "silence"}, page="/birds")
        assert refused.status == 400
        assert "Say something." in refused.text
        with capture_logs() as logs:
            crashed = await ann.post("/birds", {"word": "crash"}, page="/birds")
        assert crashed.status == 500
        assert "ZeroDivisionError" not in crashed.raw
        [line] = [line for line in logs if line["event"] == "page failed"]
        assert (line["plugin"], line["path"]) == ("aviary", "/birds")


@pytest.mark.parametrize(
    ("page", "rules", "reason"),
    [
        (ConsolePage("/usage", "Mine", ""), [], "path '/usage' is taken"),
        (ConsolePage("/payments/birds/webhook", "Mine", ""), [], "is taken"),
        (ConsolePage("/metrics", "Mine", ""), [("/metr.*", object)], "is taken"),
        (BIRDS, [], "path '/birds' is taken"),
        (ConsolePage("/mine", "Mine", "", icon="bird"), [], "there is no icon 'bird'; icons are"),
        (ConsolePage("/mine", "Mine", "{{ ( }}"), [], "SyntaxError"),
        (ConsolePage("/mine", "Mine", "{% end %}"), [], "ParseError"),
    ],
)
def test_a_page_that_cannot_be_is_refused_at_start(
    page: ConsolePage, rules: list[Route], reason: str
) -> None:
    with pytest.raises(PluginRefused) as refusal:
        with_pages([("aviary", BIRDS), ("aviary", STILL), ("mine", page)], rules)
    [fault] = refusal.value.faults
    assert (fault.file, fault.key) == ("plugin mine", "register_pages")
    assert reason in fault.reason


async def test_the_start_is_refused_for_a_path_that_is_taken(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = ConsolePage("/overview", "Mine", "")
    monkeypatch.setattr(Registries, "console_pages", lambda *_: [("mine", taken)])
    settings = load((), {}, options={"plugins": []})
    with pytest.raises(PluginRefused, match=r"plugin mine: register_pages: path '/overview'"):
        App(settings, load_plugins(settings), database, tmp_path, SECRET)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"path": "birds"}, "must be like /my-page"),
        ({"path": "/birds/(.*)"}, "must be like /my-page"),
        ({"path": "/v1/birds"}, "must not begin with /api or /static or /v1"),
        ({"label": " "}, "needs a label"),
        ({"order": 10}, "must be 11 to 99"),
    ],
)
def test_what_is_no_page_says_why(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        ConsolePage(**{"path": "/birds", "label": "Birds", "template": "", **fields})
