"""Chromium against a running gateway. Fails on whatever a careful person would not let pass.

```python
async def test_it(gateways, browser):
    async with gateways() as gateway:
        ann = await logged_in(gateway)

        async def walk(page: Page) -> None:
            await page.goto(f"{gateway.url}/settings")
            await page.get_by_role("button", name="…").click()

        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)
        await browser.inspect(gateway.url, ["/settings"], cookies=ann.cookies)
```

The browser runs in a loop of its own, in a thread, so that one browser serves all tests of a run
while every test has an event loop of its own. What is awaited inside `walk` belongs to that loop:
talk to the page there, and to the database outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import pytest

BROWSERS = ("chromium-headless-shell", "chromium")
"""Programs, the first that is on the PATH or in /usr/bin: the headless one takes half the CPU."""

WIDTHS = (375, 1280)

Theme = Literal["light", "dark"]
CHECKED: Mapping[int, Theme] = {375: "light", 1280: "dark"}
"""Accessibility is checked in each theme and each of these widths, not in every pair: it is what
takes the time. Other widths are checked in both themes."""

AXE = "axe.run({resultTypes: ['violations']}).then(({violations}) => ({violations}))"
SCREENSHOTS = "EZKIELYNA_SCREENSHOTS"
"""Name of a variable with a folder: `inspect` leaves pictures of all it sees there."""

THEMES: tuple[Theme, ...] = ("light", "dark")
Walk = Callable[[Any], Awaitable[None]]


@dataclass
class Complaints:
    """What went wrong in a browser that nobody expected; `allowed` are parts of such texts."""

    allowed: Sequence[str] = ()
    found: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Listen to a page: console errors, exceptions, requests that failed."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on("response", self._on_response)

    def _on_console(self, message: Any) -> None:
        # Chromium repeats failed requests here; `_on_response` knows which.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self._note(f"console {message.type}: {message.text}")

    def _on_response(self, response: Any) -> None:
        if response.status >= 400:
            self._note(f"{response.status} {response.request.method} {response.url}")

    def _note(self, text: str) -> None:
        if not any(allowed in text for allowed in self.allowed):
            self.found.append(text)


class Browser:
    """Chromium in a thread. Methods are awaited in a test's own loop."""

    def __init__(self, executable: str) -> None:
        self._executable = executable
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._stack = contextlib.AsyncExitStack()
        self._chromium: Any = None

    def start(self) -> None:
        """Start Chromium."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(120)

    def stop(self) -> None:
        """End Chromium and the thread."""
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def visit(
        self,
        walk: Walk,
        *,
        url: str = "",
        cookies: Mapping[str, str] | None = None,
        width: int = 1280,
        theme: Theme = "light",
        scripts: bool = True,
        allowed: Sequence[str] = (),
    ) -> None:
        """Run `await walk(page)` on a page of its own; fails on any complaint that is not allowed.

        `cookies` are set for `url`; with `scripts=False` the page runs none.
        """

        async def work() -> None:
            complaints = Complaints(allowed)
            async with self._page(url, cookies, width, theme, scripts) as page:
                complaints.watch(page)
                await walk(page)
            assert not complaints.found, complaints.found

        await self._do(work())

    async def inspect(
        self,
        url: str,
        paths: Sequence[str],
        *,
        cookies: Mapping[str, str] | None = None,
        widths: Sequence[int] = WIDTHS,
        themes: Sequence[Theme] = THEMES,
        allowed: Sequence[str] = (),
        prepare: Walk | None = None,
    ) -> None:
        """Look at pages in every width and theme: accessible, nothing wider than the screen.

        `prepare` is awaited with each page before it is looked at: to open a dialog, for example.
        """

        async def work() -> None:
            complaints = Complaints(allowed)
            async with self._page(url, cookies, widths[0], themes[0], scripts=True) as page:
                complaints.watch(page)
                for path in paths:
                    await page.goto(url + path)
                    assert await page.locator("h1").count() == 1, f"{path} has not one h1"
                    assert await page.title(), f"{path} has no title"
                    if prepare is not None:
                        await prepare(page)
                    await self._look(page, path, widths, themes)
            assert not complaints.found, complaints.found

        await self._do(work())

    async def _look(
        self, page: Any, path: str, widths: Sequence[int], themes: Sequence[Theme]
    ) -> None:
        """See a loaded page in every width and theme; both are the style sheet's matter alone."""
        from axe_playwright_python.base import AXE_SCRIPT, AxeResults

        await page.evaluate(AXE_SCRIPT)
        for width in widths:
            await page.set_viewport_size({"width": width, "height": 900})
            for theme in themes:
                await page.emulate_media(color_scheme=theme)
                await _keep_picture(page, path, theme, width)
                seen = await page.evaluate("document.documentElement.scrollWidth")
                assert seen <= width, f"{path} is {seen} px wide on a screen of {width} px"
                if CHECKED.get(width, theme) != theme:
                    continue
                found = AxeResults(await page.evaluate(AXE))
                assert not found.violations_count, f"{path} {theme}\n{found.generate_report()}"

    @asynccontextmanager
    async def _page(
        self,
        url: str,
        cookies: Mapping[str, str] | None,
        width: int,
        theme: Theme,
        scripts: bool,
    ) -> AsyncIterator[Any]:
        context = await self._chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            java_script_enabled=scripts,
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(30_000)
        try:
            if cookies:
                await context.add_cookies(
                    [{"name": name, "value": text, "url": url} for name, text in cookies.items()]
                )
            yield await context.new_page()
        finally:
            await context.close()

    async def _do(self, work: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self) -> None:
        from playwright.async_api import async_playwright

        playwright = await self._stack.enter_async_context(async_playwright())
        self._chromium = await playwright.chromium.launch(
            executable_path=self._executable, args=["--no-sandbox"]
        )
        self._stack.push_async_callback(self._chromium.close)


async def _keep_picture(page: Any, path: str, theme: str, width: int) -> None:
    folder = os.environ.get(SCREENSHOTS)
    if folder:
        name = path.partition("?")[0].strip("/").replace("/", "-") or "landing"
        await page.screenshot(
            path=str(Path(folder) / f"{name}-{theme}-{width}.png"), full_page=True
        )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give Chromium, started once for a test run; skips where there is none."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin"))
    executable = next(filter(None, (shutil.which(name, path=path) for name in BROWSERS)), None)
    if executable is None:
        pytest.skip(f"there is none of {' and '.join(BROWSERS)} on the PATH or in /usr/bin")
    pytest.importorskip("playwright", reason="playwright is not installed")
    running = Browser(executable)
    running.start()
    yield running
    running.stop()
