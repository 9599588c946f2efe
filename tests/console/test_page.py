"""What every page does: headers, who may see it, forms that cannot be forged, the way back."""

from __future__ import annotations

import gzip

import pytest

from ezkielyna.console.application import HERE
from ezkielyna.console.page import POLICY, local_path
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.passwords import hashed
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.visitor import SESSION, Visitor, logged_in

PASSWORD = "correct horse battery"


async def with_password(gateway: RunningGateway) -> Visitor:
    await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
    return Visitor(gateway.url)


def test_the_whole_console_is_small() -> None:
    """Every stylesheet and script together, as a proxy compresses them."""
    files = [path for path in (HERE / "static").iterdir() if path.suffix in (".css", ".js", ".svg")]
    assert len(files) > 10
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 60 * 1024


async def test_headers_of_every_kind_of_page(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        for path in ("/", "/login", "/settings", "/nowhere", "/healthz"):
            page = await ann.get(path)
            assert page.headers["content-security-policy"] == POLICY
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["x-request-id"].startswith("req_")
            assert "server" not in page.headers
        assert "unsafe" not in POLICY
        for path in ("/settings", "/reset?ticket=x", "/verify?ticket=x"):
            assert (await ann.get(path)).headers["cache-control"] == "no-store"
            assert (await Visitor(gateway.url).get(path)).headers.get(
                "cache-control", "no-store"
            ) == "no-store"


async def test_an_error_shows_the_request_id(gateways: Gateways) -> None:
    async with gateways() as gateway:
        page = await Visitor(gateway.url).get("/nowhere")
        assert page.status == 404
        assert page.headers["x-request-id"] in page.text


async def test_static_files_are_named_by_their_content_and_kept(gateways: Gateways) -> None:
    async with gateways() as gateway:
        visitor = Visitor(gateway.url)
        page = await visitor.get("/")
        path = page.raw.partition('href="/static/style.css')[2].partition('"')[0]
        assert path.startswith("?v=")
        style = await visitor.get(f"/static/style.css{path}")
        assert style.status == 200
        assert "max-age=315360000" in style.headers["cache-control"]
        assert style.headers["x-content-type-options"] == "nosniff"


async def test_strangers_are_sent_to_log_in_and_come_back(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await with_password(gateway)
        sent = await ann.get("/settings?tab=1")
        assert (sent.status, sent.location) == (303, "/login?next=%2Fsettings%3Ftab%3D1")
        form = await ann.get(sent.location)
        assert 'name="next" value="/settings?tab=1"' in form.raw
        answer = await ann.post(
            "/login", {"email": gateway.email, "password": PASSWORD, "next": "/settings?tab=1"}
        )
        assert (answer.status, answer.location) == (303, "/settings?tab=1")
        assert gateway.email in (await ann.get("/settings")).text


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "settings",
        "/a\\b",
        "/a\nSet-Cookie: x=y",
    ],
)
async def test_the_way_back_never_leads_elsewhere(address: str) -> None:
    assert local_path(address) == ""


@pytest.mark.parametrize("path", ["/", "/keys", "/usage?from=2026-01-01&to=2026-02-01#a"])
async def test_the_way_back_leads_to_pages_of_ours(path: str) -> None:
    assert local_path(path) == path


async def test_logging_in_changes_the_session(gateways: Gateways) -> None:
    """A token that somebody planted, or that was there before, is worth nothing afterwards."""
    async with gateways() as gateway:
        ann = await with_password(gateway)
        ann.cookies[SESSION] = "planted"
        token = await ann.token("/login")
        fields = {"email": gateway.email, "password": PASSWORD}
        await ann.post("/login", fields, token=token)
        first = ann.cookies[SESSION]
        assert first != "planted"
        again = await with_password(gateway)
        again.cookies[SESSION] = first
        await again.post("/login", fields, page="/settings")
        assert again.cookies[SESSION] != first
        sessions = ConsoleSessions(gateway.database, SECRET)
        assert await sessions.find(first) is None
        assert await sessions.find("planted") is None


async def test_the_cookie_of_a_session(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await with_password(gateway)
        answer = await ann.post("/login", {"email": gateway.email, "password": PASSWORD})
        (cookie,) = [line for line in answer.set_cookies if line.startswith(f"{SESSION}=")]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert "Secure" not in cookie
    tables = {"server": {"public_url": "https://gateway.example"}}
    async with gateways(tables=tables) as gateway:
        ann = await with_password(gateway)
        answer = await ann.post("/login", {"email": gateway.email, "password": PASSWORD})
        (cookie,) = [line for line in answer.set_cookies if "session" in line]
        assert cookie.startswith("__Host-ezkielyna-session=")
        assert "Secure" in cookie
        assert "strict-transport-security" in answer.headers


async def test_logging_out_ends_the_session_on_the_server(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        stolen = dict(ann.cookies)
        await ann.post("/logout")
        assert SESSION not in ann.cookies
        thief = Visitor(gateway.url, stolen)
        assert (await thief.get("/settings")).status == 303


async def test_a_forged_request_changes_nothing(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, bob = await logged_in(gateway), Visitor(gateway.url)
        own, stranger = await ann.token(), await bob.token()
        forged = [
            {"token": ""},
            {"token": "0" * 64},
            {"token": stranger},
            {"token": own, "Sec_Fetch_Site": "cross-site"},
            {"token": own, "Sec_Fetch_Site": "same-site"},
            {"token": own, "Sec_Fetch_Site": "cross-site", "Origin": gateway.url},
        ]
        for case in forged:
            headers = {name: text for name, text in case.items() if name != "token"}
            sent = {name.replace("_", "-"): text for name, text in headers.items()}
            answer = await ann.post("/logout", token=case["token"], **sent)
            assert answer.status == 403, case
        assert (await ann.get("/settings")).status == 200


async def test_without_fetch_metadata_the_origin_is_judged(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        body = f"_csrf={await ann.token()}"
        evil = await ann.send("POST", "/logout", body, {"Origin": "https://evil.example"})
        assert evil.status == 403
        null = await ann.send("POST", "/logout", body, {"Origin": "null"})
        assert null.status == 403
        good = await ann.send("POST", "/logout", body, {"Origin": gateway.url})
        assert good.status == 303


async def test_a_database_that_is_away_is_503(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ezkielyna.storage.errors import StorageAway

    async def away(*_: object) -> None:
        raise StorageAway("the database cannot be reached")

    async with gateways() as gateway:
        ann = await logged_in(gateway)
        monkeypatch.setattr(ConsoleSessions, "find", away)
        page = await ann.get("/settings")
        assert page.status == 503
        assert page.headers["retry-after"] == "5"
        assert (await ann.get("/healthz")).status == 200


async def test_sessions_are_listed_and_ended(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann, phone, tablet = [await logged_in(gateway) for _ in range(3)]
        sessions = ConsoleSessions(gateway.database, SECRET)
        gone = await sessions.find(phone.cookies[SESSION])
        assert gone is not None
        await ann.post("/settings/sessions/end", {"session": gone.id})
        assert (await phone.get("/settings")).status == 303
        assert (await tablet.get("/settings")).status == 200
        await ann.post("/settings/sessions/end-others")
        assert (await tablet.get("/settings")).status == 303
        assert "One other session ended" in (await ann.get("/settings")).text
