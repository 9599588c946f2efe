"""The ways by which letters leave: printed, as files in a folder, or by SMTP."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

SUBMISSION = 587
SUBMISSION_TLS = 465


class Undelivered(Exception):
    """A letter did not leave. `final` when trying again cannot help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Carrier(Protocol):
    """A way by which letters leave."""

    async def deliver(self, message: EmailMessage) -> None:
        """Hand a letter over; raises Undelivered. Never says more than once that it left."""


class Console:
    """Prints letters: for a machine where nobody runs a mail server."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or _print

    async def deliver(self, message: EmailMessage) -> None:
        """Print who gets it, and the text part."""
        text = message.get_body(("plain",))
        assert text is not None
        rule = "-" * 72
        self._write(
            f"{rule}\nMail to {message['To']}: {message['Subject']}\n\n"
            f"{text.get_content().strip()}\n{rule}\n"
        )


class Folder:
    """Writes every letter to a file of its own, `<milliseconds>-<id>.eml`, whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def deliver(self, message: EmailMessage) -> None:
        """Write the file."""
        try:
            await asyncio.to_thread(self._write, message.as_bytes(policy=SMTP))
        except OSError as error:
            raise Undelivered(f"the mail folder cannot be written: {error.strerror}") from error

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns() // 1_000_000}-{uuid.uuid4().hex[:8]}.eml"
        unfinished = self._folder / f".{name}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        unfinished.rename(self._folder / name)


def carrier(url: str) -> Carrier:
    """Return what `mail.url` names; `settings` has refused any other text."""
    if url == "console:":
        return Console()
    if url.startswith("file:"):
        return Folder(Path(url.removeprefix("file:")))
    parts = urlsplit(url)
    assert parts.scheme in ("smtp", "smtps"), parts.scheme
    from ezkielyna.mail.smtp import Smtp  # a client that most gateways do without

    tls = parts.scheme == "smtps"
    return Smtp(
        parts.hostname or "localhost",
        parts.port or (SUBMISSION_TLS if tls else SUBMISSION),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        tls=tls,
    )


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
