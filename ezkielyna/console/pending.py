"""What a browser that signed up remembers until the address is verified: a signed cookie."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import orjson

if TYPE_CHECKING:
    from ezkielyna.console.page import Page

RESEND_S = 60
"""Between two mails to one address."""

KEPT_DAYS = 1.0


@dataclass(frozen=True, slots=True)
class Pending:
    """An address that was written to at the Unix second `at`, and the ticket in that mail.

    For an address that has an account the ticket is one that nobody issued; the browser cannot
    tell.
    """

    email: str
    ticket: str
    at: int

    @classmethod
    def now(cls, email: str, ticket: str) -> Self:
        """Return what to remember of a mail that is sent now."""
        return cls(email, ticket, int(time.time()))

    @property
    def wait_s(self) -> int:
        """How long until another mail may be asked for."""
        return max(0, self.at + RESEND_S - int(time.time()))


def remember(page: Page, pending: Pending) -> None:
    """Keep it in the browser; scripts cannot read it."""
    cookies = page.console.cookies
    value = orjson.dumps(asdict(pending)).decode()
    page.set_signed_cookie(cookies.pending, value, KEPT_DAYS, **cookies.attributes())


def remembered(page: Page) -> Pending | None:
    """Return what the browser remembers."""
    value = page.get_signed_cookie(page.console.cookies.pending, max_age_days=KEPT_DAYS)
    return None if value is None else Pending(**orjson.loads(value))


def forget(page: Page) -> None:
    """Let the browser forget."""
    cookies = page.console.cookies
    page.clear_cookie(cookies.pending, **cookies.attributes())
