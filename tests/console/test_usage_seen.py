"""The usage pages in Chromium."""

from __future__ import annotations

from datetime import UTC, datetime

from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.history import month, settled
from ezkielyna.testing.visitor import logged_in


async def test_pages_of_usage(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        now = datetime.now(UTC)
        await settled(gateway.database, month(gateway.account, gateway.key_id, now))
        await browser.inspect(gateway.url, ["/usage"], cookies=ann.cookies)
