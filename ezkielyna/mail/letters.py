"""What we write: each letter is a template in text and one in HTML, with a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import cache
from pathlib import Path
from typing import Any

from tornado.template import Loader

TEMPLATES = Path(__file__).parent / "templates"


class Unaddressable(ValueError):
    """An address that no letter can be sent to."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to one address. `name` is that of its templates, `values` what they show."""

    to: str
    name: str
    subject: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def message(self, sender: str) -> EmailMessage:
        """Return it as a message; raises Unaddressable."""
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = addressable(self.to)
        message["Subject"] = self.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(domain=_domain(sender))
        # RFC 3834: nobody's holiday responder answers us.
        message["Auto-Submitted"] = "auto-generated"
        names = {**self.values, "subject": self.subject}
        message.set_content(_templates().load(f"{self.name}.txt").generate(**names).decode())
        html = _templates().load(f"{self.name}.html").generate(**names).decode()
        message.add_alternative(html, subtype="html")
        return message


def addressable(email: str) -> Address:
    """Return an address for a header; raises Unaddressable where it cannot stand in one."""
    try:
        return Address(addr_spec=email)
    except (ValueError, IndexError) as error:
        raise Unaddressable(f"{email!r} cannot be written to") from error


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2].strip("> ") or "localhost"


@cache
def _templates() -> Loader:
    return Loader(str(TEMPLATES), autoescape="xhtml_escape", whitespace="all")
