"""Letters leave: printed, as files, and to a real SMTP server that may refuse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from ezkielyna.mail.carriers import Console, Folder, Undelivered, carrier
from ezkielyna.mail.letters import Letter, Unaddressable
from ezkielyna.mail.post import Post
from ezkielyna.mail.smtp import Smtp

SENDER = "Ezkielyna <no-reply@gateway.example>"
VALUES = {
    "address": "https://g.example",
    "link": "https://g.example/verify?ticket=a&b",
    "code": "1",
}


def letter(to: str = "ann@example.com") -> Letter:
    return Letter(to, "verify", "Verify your e-mail address", VALUES)


class Inbox:
    """A mail server's end: refuses with `refusal` so many times."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.refusals: list[str] = []
        self.recipient_refusal = ""
        self.log_ins: list[LoginPassword] = []

    async def handle_RCPT(self, *arguments: Any) -> str:  # noqa: N802 - aiosmtpd's name
        _, _, envelope, address, _ = arguments
        if self.recipient_refusal:
            return self.recipient_refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, *arguments: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refusals:
            return self.refusals.pop(0)
        message = message_from_bytes(arguments[2].content, policy=default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"

    def authenticate(self, *arguments: Any) -> AuthResult:
        self.log_ins.append(arguments[-1])
        return AuthResult(success=True)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def server(inbox: Inbox) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=port,
        authenticator=inbox.authenticate,
        auth_require_tls=False,
        ready_timeout=30,
    )
    controller.start()
    yield f"127.0.0.1:{port}"
    controller.stop()


async def test_a_letter_has_both_parts_and_escapes(inbox: Inbox, server: str) -> None:
    await carrier(f"smtp://{server}").deliver(letter().message(SENDER))
    (message,) = inbox.messages
    assert message["To"] == "ann@example.com"
    assert message["From"] == SENDER
    assert message["Message-ID"].endswith("@gateway.example>")
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "ticket=a&b" in text.get_content()
    assert "ticket=a&amp;b" in html.get_content()


async def test_a_name_and_a_password_are_sent(inbox: Inbox, server: str) -> None:
    await carrier(f"smtp://us%40er:pa%2Fss@{server}").deliver(letter().message(SENDER))
    assert inbox.log_ins == [LoginPassword(b"us@er", b"pa/ss")]


async def test_a_password_leaves_this_machine_only_over_tls(
    inbox: Inbox, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ezkielyna.mail.smtp._here", lambda host: False)
    with pytest.raises(Undelivered):
        await carrier(f"smtp://user:secret@{server}").deliver(letter().message(SENDER))
    assert not inbox.log_ins


@pytest.mark.parametrize(("answer", "final"), [("550 no", True), ("450 later", False)])
async def test_a_refused_address(inbox: Inbox, server: str, answer: str, final: bool) -> None:
    inbox.recipient_refusal = answer
    with pytest.raises(Undelivered) as refused:
        await carrier(f"smtp://{server}").deliver(letter().message(SENDER))
    assert refused.value.final is final
    assert "ann" not in str(refused.value)


async def test_a_folder_gets_whole_files(tmp_path: Path) -> None:
    await carrier(f"file:{tmp_path}/out").deliver(letter().message(SENDER))
    (path,) = (tmp_path / "out").iterdir()
    assert path.suffix == ".eml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert message_from_bytes(path.read_bytes(), policy=default)["To"] == "ann@example.com"


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Undelivered, match="mail folder"):
        await Folder(tmp_path / "file").deliver(letter().message(SENDER))


async def test_the_console_prints_the_text() -> None:
    printed: list[str] = []
    await Console(printed.append).deliver(letter().message(SENDER))
    assert "Mail to ann@example.com" in printed[0]
    assert VALUES["link"] in printed[0]


@pytest.mark.parametrize("address", ["a,b@example.com", "a b@example.com", "x"])
async def test_what_is_no_address_is_not_written_to(address: str) -> None:
    with pytest.raises(Unaddressable):
        letter(address).message(SENDER)


async def test_the_post_tries_again(inbox: Inbox, server: str) -> None:
    inbox.refusals = ["451 later", "421 busy"]
    post = Post(carrier(f"smtp://{server}"), SENDER, pauses_s=(0.01, 0.01))
    assert await post.send(letter())
    assert len(inbox.messages) == 1
    assert post.trouble is None


async def test_the_post_says_when_nothing_leaves(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[str] = []

    async def failed() -> None:
        failures.append("failed")

    post = Post(Smtp("127.0.0.1", 9, "", ""), SENDER, pauses_s=(0.01,))
    assert not await post.send(letter(), failed)
    assert failures == ["failed"]
    assert post.trouble is not None
    assert "cannot be reached" in post.trouble


async def test_a_final_refusal_is_not_tried_again(inbox: Inbox, server: str) -> None:
    inbox.refusals = ["554 spam", "250 never reached"]
    post = Post(carrier(f"smtp://{server}"), SENDER, pauses_s=(0.01, 0.01))
    assert not await post.send(letter())
    assert len(inbox.refusals) == 1
    assert post.trouble is None


async def test_the_post_waits_for_letters_at_its_end(tmp_path: Path) -> None:
    post = Post(carrier(f"file:{tmp_path}"), SENDER)
    post.send(letter())
    await post.close()
    assert len(list(tmp_path.glob("*.eml"))) == 1


async def test_the_post_gives_up_what_cannot_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ezkielyna.mail.post.GRACE_S", 0.05)
    post = Post(Smtp("127.0.0.1", 9, "", ""), SENDER, pauses_s=(60,))
    task = post.send(letter())
    await post.close()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
