"""Somebody with a browser, as far as HTTP goes: keeps cookies, sends forms with their tokens.

```python
async def test_it(gateways):
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        page = await ann.get("/settings")
        answer = await ann.post("/settings/…", {"name": "laptop"})
```
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from ezkielyna.console.forgery import FIELD
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.testing.gateway import SECRET, RunningGateway

_TOKEN = re.compile(rf'name="{FIELD}" value="([0-9a-f]+)"')
SESSION = "ezkielyna-session"


@dataclass(frozen=True)
class Answer:
    """A page as it arrived; `headers` has every header once, cookies apart."""

    status: int
    headers: Mapping[str, str]
    set_cookies: list[str]
    body: bytes

    @property
    def text(self) -> str:
        """The page with its entities resolved: what a reader may see, and the markup."""
        return html.unescape(self.raw)

    @property
    def raw(self) -> str:
        """The page as it was sent."""
        return self.body.decode()

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self.headers.get("location", "")


@dataclass
class Visitor:
    """A browser without scripts; `cookies` are what it was given."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page; redirects are not followed."""
        return await self.send("GET", path, None, headers)

    async def post(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        page: str = "",
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        """Send a form with the token of `page` (else of the settings, else of the log-in)."""
        if token is None:
            token = await self.token(page)
        form = urlencode({FIELD: token, **(fields or {})})
        return await self.send("POST", path, form, {"Sec-Fetch-Site": "same-origin", **headers})

    async def token(self, page: str = "") -> str:
        """Return the token of a page's forms."""
        shown = await self.get(page or ("/settings" if SESSION in self.cookies else "/login"))
        found = _TOKEN.search(shown.raw)
        assert found is not None, f"{page} has no form: {shown.status} {shown.location}"
        return found.group(1)

    async def send(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Answer:
        """Send a request and remember the cookies of its answer; `_` in names is `-`."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        request = HTTPRequest(
            self.url + path,
            method=method,
            body=body,
            headers=sent,
            follow_redirects=False,
            request_timeout=60,
            allow_nonstandard_methods=True,
        )
        response = await AsyncHTTPClient().fetch(request, raise_error=False)
        return self._answer(response)

    def _answer(self, response: HTTPResponse) -> Answer:
        set_cookies = response.headers.get_list("Set-Cookie")
        for line in set_cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
        headers = {name.lower(): text for name, text in response.headers.items()}
        return Answer(response.code, headers, set_cookies, response.body or b"")


async def logged_in(gateway: RunningGateway, account: str = "") -> Visitor:
    """Return a visitor with a session of this account, or of the gateway's own."""
    sessions = ConsoleSessions(gateway.database, SECRET)
    token = await sessions.begin(account or gateway.account, agent="a test")
    return Visitor(gateway.url, {SESSION: token})
