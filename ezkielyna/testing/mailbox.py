"""Letters that a gateway with `mail.url = "file:FOLDER"` sent, as their reader sees them."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

_LINK = re.compile(r"https?://\S+?/(?:verify|reset)\?ticket=\S+")
_CODE = re.compile(r"signed up: (\d{6})\b")


@dataclass(frozen=True)
class LetterRead:
    """A letter as it arrived."""

    to: str
    subject: str
    text: str
    html: str

    @property
    def link(self) -> str:
        """The address that the letter wants opened."""
        found = _LINK.search(self.text)
        assert found is not None, f"there is no link in {self.text}"
        assert found.group().replace("&", "&amp;") in self.html
        return found.group()

    @property
    def path(self) -> str:
        """The link without the server."""
        return "/" + self.link.split("/", 3)[3]

    @property
    def ticket(self) -> str:
        """What the link carries."""
        return self.link.rpartition("ticket=")[2]

    @property
    def code(self) -> str:
        """The six digits."""
        found = _CODE.search(self.text)
        assert found is not None, f"there is no code in {self.text}"
        return found.group(1)


@dataclass(frozen=True)
class Mailbox:
    """A folder of letters."""

    folder: Path

    def letters(self, to: str) -> list[LetterRead]:
        """Return all letters to an address, oldest first."""
        if not self.folder.exists():
            return []
        read = [_read(path) for path in sorted(self.folder.glob("[0-9]*.eml"))]
        return [letter for letter in read if letter.to == to]

    async def letter(self, to: str, count: int = 1, within_s: float = 20.0) -> LetterRead:
        """Return the latest letter as soon as there are this many to an address."""
        end = time.monotonic() + within_s
        while len(found := self.letters(to)) < count:
            assert time.monotonic() < end, f"{len(found)} letters to {to} of {count}"
            await asyncio.sleep(0.02)
        return found[-1]


def _read(path: Path) -> LetterRead:
    message = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    return LetterRead(
        str(message["To"]), str(message["Subject"]), text.get_content(), html.get_content()
    )
