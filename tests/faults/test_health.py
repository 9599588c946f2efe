"""What stands outside the API: health, readiness, the landing page, and what is missing."""

from typing import Any

import pytest

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Line


@pytest.fixture(params=["llhttp", "tornado"])
def wire(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"server": {"wire": request.param}}


async def test_alive_and_ready(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        alive = await line.get("/healthz")
        assert (alive.status, alive.document) == (200, {"status": "alive"})
        ready = await line.get("/readyz")
        assert (ready.status, ready.document) == (200, {"status": "ready", "degraded": []})


async def test_a_process_that_cannot_serve_is_alive_and_not_ready(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        gateway.app.pipeline.draining = True
        ready = await line.get("/readyz")
        assert (ready.status, ready.document) == (503, {"status": "draining", "degraded": []})
        assert (await line.get("/healthz")).status == 200


async def test_health_says_nothing_about_the_server(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        for path in ("/", "/healthz", "/readyz", "/nothing"):
            assert "server" not in (await line.get(path)).headers


async def test_the_landing_page_shows_the_address_and_the_models(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    tables = {"server": {**wire["server"], "public_url": "https://gateway.example/"}}
    async with gateways(tables=tables) as gateway, await Line.open(gateway.url) as line:
        page = await line.get("/")
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        text = page.body.decode()
        assert text.count("<h1") == 1
        assert "<title>" in text
        assert "https://gateway.example/api/v1" in text
        assert "gpt-lab" in text
        policy = page.headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_missing_is_a_page_of_its_own(
    gateways: Gateways, wire: dict[str, Any], method: str
) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        page = await line.get("/nothing/here?x=<script>", method=method)
        assert page.status == 404
        assert page.headers["content-type"].startswith("text/html")
        text = page.body.decode()
        assert text.count("<h1") == 1
        assert "<script>" not in text
        assert (await line.get("/healthz")).status == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_head_has_the_head_of_get(
    gateways: Gateways, wire: dict[str, Any], path: str
) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        whole = await line.get(path)
        head = await line.get(path, method="HEAD")
        assert head.status == whole.status == 200
        assert head.headers["content-length"] == whole.headers["content-length"]
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert (await line.get("/healthz")).status == 200, "HEAD left bytes on the line"


async def test_head_of_what_is_missing(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        assert (await line.get("/nothing", method="HEAD")).status == 404
        assert (await line.get("/v1/models", gateway.key, method="HEAD")).status == 200
        assert (await line.get("/healthz")).status == 200


async def test_a_method_that_a_page_does_not_have(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway, await Line.open(gateway.url) as line:
        assert (await line.get("/healthz", method="DELETE")).status == 405
        assert (await line.get("/healthz")).status == 200
