"""localstripe as a process, and in front of it what it lacks: a Checkout, and a recorder."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

API_KEY = "sk_test_laboratory"
SECRET = "whsec_0123456789abcdef"
GOOD_CARD = "4242424242424242"
BAD_CARD = "4000000000000341"
"""Attaches, and declines when it is charged."""


@contextmanager
def localstripe(folder: Path) -> Iterator[str]:
    """Run localstripe on a free port and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"]
    with (folder / "localstripe.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, folder)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/js.stripe.com/v3/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, (folder / "localstripe.log").read_text()
            time.sleep(0.1)
        else:
            return
    raise AssertionError("localstripe does not answer")


@dataclass
class Shop:
    """A Stripe account under test. `url` is for `base_url`; `heard` is what was notified to us."""

    api_key = API_KEY
    secret = SECRET
    bad_card = BAD_CARD

    stripe: str
    url: str = ""
    card: str = GOOD_CARD
    sessions: list[Mapping[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    heard: list[tuple[bytes, str]] = field(default_factory=list)
    client: AsyncHTTPClient = field(
        default_factory=lambda: AsyncHTTPClient(force_instance=True, max_clients=50)
    )

    async def call(self, path: str, fields: Mapping[str, Any], expect: int = 200) -> Any:
        """Call localstripe's API."""
        answer = await self.client.fetch(
            self.stripe + path,
            method="POST",
            body=urlencode(fields),
            headers={"Authorization": f"Bearer {API_KEY}"},
            raise_error=False,
            request_timeout=60,
        )
        assert answer.code == expect, (answer.code, answer.body)
        return json.loads(answer.body)

    async def notify(self, url: str) -> None:
        """Send webhooks to this address from now on."""
        body = json.dumps({"url": url, "secret": SECRET})
        headers = {"Content-Type": "application/json"}
        target = f"{self.stripe}/_config/webhooks/laboratory"
        await self.client.fetch(target, method="POST", body=body, headers=headers)

    async def payment(self, order: str, cents: int, currency: str = "usd") -> str:
        """Make a PaymentIntent that nobody has confirmed; return its id."""
        card = {"number": self.card, "exp_month": 12, "exp_year": 2099, "cvc": "123"}
        fields = {f"card[{name}]": text for name, text in card.items()}
        method = await self.call("/v1/payment_methods", {"type": "card", **fields})
        made = await self.call(
            "/v1/payment_intents",
            {
                "amount": cents,
                "currency": currency,
                "payment_method": method["id"],
                "metadata[ezkielyna_order]": order,
            },
        )
        return str(made["id"])

    async def pay(self, payment: str, expect: int = 200) -> None:
        """Do what a customer does on Stripe's page."""
        await self.call(f"/v1/payment_intents/{payment}/confirm", {}, expect)

    async def heard_of(self, payment: str) -> tuple[bytes, str]:
        """Return the webhook about this payment, as soon as the recorder has it."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            for body, signature in self.heard:
                if json.loads(body)["data"]["object"]["id"] == payment:
                    return body, signature
            await asyncio.sleep(0.05)
        raise AssertionError(f"nobody notified of {payment}")


class _Handler(RequestHandler):
    def initialize(self, shop: Shop) -> None:
        self.shop = shop


class Checkout(_Handler):
    """Makes a session as Stripe would: a page, and behind it a PaymentIntent."""

    async def post(self) -> None:
        fields = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        self.shop.sessions.append(fields)
        self.shop.keys.append(self.request.headers["Idempotency-Key"])
        price = "line_items[0][price_data]"
        payment = await self.shop.payment(
            fields["payment_intent_data[metadata][ezkielyna_order]"],
            int(fields[f"{price}[unit_amount]"]),
            fields[f"{price}[currency]"],
        )
        url = f"https://checkout.example/{payment}"
        self.write({"id": "cs_1", "object": "checkout.session", "url": url})


class Forward(_Handler):
    """Hands everything else on to localstripe."""

    async def get(self) -> None:
        answer = await self.shop.client.fetch(
            self.shop.stripe + self.request.uri,
            headers={"Authorization": self.request.headers["Authorization"]},
        )
        self.write(json.loads(answer.body))


class Recorder(_Handler):
    """Keeps the webhooks that localstripe signs and sends."""

    def post(self) -> None:
        self.shop.heard.append((self.request.body, self.request.headers["Stripe-Signature"]))


@asynccontextmanager
async def shop(stripe: str) -> AsyncIterator[Shop]:
    """Open a shop in front of localstripe; webhooks go to the recorder."""
    opened = Shop(stripe)
    own = {"shop": opened}
    routes: list[Any] = [
        ("/v1/checkout/sessions", Checkout, own),
        ("/heard", Recorder, own),
        ("/.*", Forward, own),
    ]
    [sock] = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application(routes))
    server.add_socket(sock)
    opened.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        await opened.notify(f"{opened.url}/heard")
        yield opened
    finally:
        server.stop()
        await server.close_all_connections()
        opened.client.close()


@pytest.fixture(scope="module")
def stripe_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running localstripe."""
    with localstripe(tmp_path_factory.mktemp("localstripe")) as url:
        yield url


@pytest.fixture
def open_shop(stripe_url: str) -> Callable[[], AbstractAsyncContextManager[Shop]]:
    """Return what opens a shop."""
    return partial(shop, stripe_url)
