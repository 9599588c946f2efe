"""The guard: what it refuses, what it redacts, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna.plugins import load_plugins
from ezkielyna.settings import Refused, load
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import logged_in
from ezkielyna_guard import denied
from ezkielyna_guard.texts import redacted, texts

GUARD = {
    "deny": ["project nightingale"],
    "message": "Not that project.",
    "redact": {r"\b\d{3}-\d{2}-\d{4}\b": "[SSN]", r"(?i)\b(\w)\w*@example\.com": r"\1…"},
}
TABLES = {"plugins": ["openai", "guard"], "plugin": {"guard": GUARD}}


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-lab", "messages": [{"role": "user", "content": content}], **more}


async def test_a_denied_phrase_is_refused_and_costs_nothing(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        parts = [{"type": "text", "text": "About Project\n NIGHTINGALE?"}]
        for body in (chat(parts), chat(parts, stream=True)):
            answer = await post(gateway.url, gateway.key, body)
            assert (answer.status, answer.error) == (400, "invalid_request")
            assert answer.document["error"]["message"] == "Not that project."
        assert (await post(gateway.url, gateway.key, chat("A nightingale sings"))).status == 200
        assert len(upstream.requests) == 1


async def test_what_is_sent_on_is_redacted(gateways: Gateways) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.example/123-45-6789"}}
    body = chat([{"type": "text", "text": "I am 123-45-6789, ann@example.com"}, image], user="u-1")
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        assert (await post(gateway.url, gateway.key, body)).status == 200
        sent = orjson.loads(upstream.requests[0].body)
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "I am [SSN], a…"}, image]
    assert sent["user"] == "u-1"


async def test_what_needs_no_change_is_sent_on_byte_by_byte(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=TABLES) as guarded,
        gateways(upstream.url) as plain,
    ):
        await post(guarded.url, guarded.key, chat("Hello"))
        await post(plain.url, plain.key, chat("Hello"))
        assert upstream.requests[0].body == upstream.requests[1].body


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"prompt": "a", "suffix": "b", "model": "c"}, ["a", "b"]),
        ({"prompt": ["a", "b"]}, ["a", "b"]),
        ({"input": [1, 2]}, []),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]}, ["a"]),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "a"}}]}]},
            ["a"],
        ),
        ({"messages": [{"role": "user", "content": None}]}, []),
    ],
)
def test_where_texts_are(fields: dict[str, Any], found: list[str]) -> None:
    assert list(texts(fields)) == found


def test_redaction_that_changes_nothing_gives_the_same() -> None:
    fields = {"messages": [None, 7, {"content": [True, {"a": 0.5}]}], "input": {}, "x": [[]]}
    assert redacted(fields, lambda text: text) == fields


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("drop table users", True),
        ("DROP   TABLE", True),
        ("drop tables", False),
        ("backdrop table", False),
        ("c++ rules", True),
    ],
)
def test_phrases_are_whole_words(text: str, hit: bool) -> None:
    pattern = denied(("drop table", "c++"))
    assert pattern is not None
    assert bool(pattern.search(text)) is hit


@pytest.mark.parametrize(
    ("table", "key", "reason"),
    [
        ({"deny": [" "]}, "plugin.guard.deny", "would refuse every request"),
        ({"redact": {"(": "x"}}, "plugin.guard.redact", "cannot be used"),
        ({"redact": {"a": r"\2"}}, "plugin.guard.redact", "cannot be used"),
        ({"denny": []}, "plugin.guard.denny", "did you mean deny?"),
    ],
)
def test_settings_that_cannot_work_are_named(table: Any, key: str, reason: str) -> None:
    settings = load((), {}, options={"plugins": ["guard"], "plugin": {"guard": table}})
    with pytest.raises(Refused) as refusal:
        load_plugins(settings)
    [fault] = refusal.value.faults
    assert fault.key == key
    assert reason in fault.reason


PAGE = {"plugins": ["openai", "guard"], "plugin": {"guard": {**GUARD, "page": True}}}


async def test_a_customer_tries_a_text(gateways: Gateways, browser: Browser) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/overview")
        await page.get_by_role("link", name="Content rules").click()
        for text, verdict, read in (
            ("Hello", "Sent on as it is", "No rule applies"),
            ("I am 123-45-6789", "Sent on with changes", "I am [SSN]"),
            ("<b>Project  Nightingale", "Refused", "Not that project."),
        ):
            await page.get_by_label("Text").fill(text)
            await page.get_by_role("button", name="Try it").click()
            await page.get_by_text(verdict, exact=True).wait_for()
            assert read in await page.locator("main").inner_text()
            assert await page.get_by_label("Text").input_value() == text

    async def tried(page: Any) -> None:
        await page.get_by_label("Text").fill("I am 123-45-6789")
        await page.get_by_role("button", name="Try it").click()
        await page.get_by_text("Sent on with changes").wait_for()

    async with gateways(tables=PAGE) as gateway:
        ann = await logged_in(gateway)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)
        await browser.inspect(gateway.url, ["/guard"], cookies=ann.cookies, prepare=tried)


async def test_without_the_setting_there_is_no_page(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        assert (await ann.get("/guard")).status == 404
        assert "Content rules" not in (await ann.get("/settings")).raw
