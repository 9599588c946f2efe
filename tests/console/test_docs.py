"""The documentation: served as pages and as Markdown, with addresses that are the reader's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ezkielyna
from ezkielyna.console.documents import ADDRESS, ORDER, documents
from ezkielyna.console.markdown import rendered
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import SECRET, Gateways
from ezkielyna.testing.visitor import Visitor, logged_in

FOLDER = Path(ezkielyna.__file__).parent / "docs"


def test_every_file_is_in_the_contents() -> None:
    assert sorted(ORDER) == sorted(path.stem for path in FOLDER.glob("*.md"))


@pytest.mark.parametrize("name", ORDER)
def test_links_between_pages_lead_somewhere(name: str) -> None:
    page = next(page for page in documents() if page.name == name)
    for target in re.findall(r"\]\(/docs/([a-z-]+)\)", page.text):
        assert target in ORDER


def test_markup_in_markdown_is_text() -> None:
    html, _ = rendered('# A\n\n<script>alert(1)</script> <b onclick="x">b</b>\n')
    assert "<script" not in html
    assert "<b " not in html


def test_sections_have_anchors() -> None:
    html, headings = rendered("# A\n\n## Whose count `counts`\n\ntext\n")
    assert [(heading.anchor, heading.title) for heading in headings] == [
        ("whose-count-counts", "Whose count counts")
    ]
    assert '<h2 id="whose-count-counts">' in html


async def test_pages_carry_the_readers_address(gateways: Gateways) -> None:
    async with gateways() as gateway:
        stranger = Visitor(gateway.url)
        for path in ("/docs", *(f"/docs/{name}" for name in ORDER)):
            page = await stranger.get(path)
            assert page.status == 200
            assert page.text.count("<h1>") == 1
            assert ADDRESS not in page.text or gateway.app.settings.server.address == ADDRESS
        as_text = await stranger.get("/docs/streaming.md")
        assert as_text.headers["content-type"] == "text/markdown; charset=utf-8"
        assert f"{gateway.app.settings.server.address}/api/v1/chat/completions" in as_text.raw
        assert '"gpt-lab"' in as_text.raw
        assert (await stranger.get("/docs/no-such-page")).status == 404
        assert (await stranger.get("/docs/no-such-page.md")).status == 404
        listed = await stranger.get("/llms.txt")
        assert all(f"/docs/{name}.md)" in listed.raw for name in ORDER)


async def test_who_is_logged_in_sees_the_hint_of_a_key(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        keys = await Keys(gateway.database, SECRET).list(gateway.account)
        page = await ann.get("/docs/quick-start")
        assert keys[0].hint in page.text


async def test_a_page_in_chromium(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        await browser.inspect(gateway.url, ["/docs/chat-completions"])


async def test_reading_on_in_chromium(gateways: Gateways, browser: Browser) -> None:
    async def read(page: Any) -> None:
        await page.goto(f"{gateway.url}/docs/chat-completions")
        assert await page.get_by_role("button", name="Copy the shell example").is_visible()
        await page.get_by_role("link", name="Streaming →").click()
        await page.wait_for_url("**/docs/streaming")
        assert "Streaming" in await page.title()

    async with gateways() as gateway:
        await browser.visit(read)
