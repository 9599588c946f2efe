"""The console's cookies: names and attributes in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cookies:
    """Names and attributes, by whether clients reach us over TLS.

    `__Host-` makes a browser refuse the cookie unless it is Secure, for this host alone and for
    all paths, so that no neighbouring host can set one. Browsers refuse it without TLS.
    """

    secure: bool

    @property
    def session(self) -> str:
        """Who is logged in."""
        return f"{self._prefix}session"

    @property
    def visitor(self) -> str:
        """A browser that has seen a form and is not logged in; ties the form to it."""
        return f"{self._prefix}visitor"

    @property
    def flash(self) -> str:
        """A message for the next page."""
        return f"{self._prefix}flash"

    @property
    def pending(self) -> str:
        """The address that a sign-up wrote to, and its ticket's id."""
        return f"{self._prefix}pending"

    def attributes(self) -> dict[str, Any]:
        """Return what every cookie is set with."""
        return {"path": "/", "secure": self.secure, "httponly": True, "samesite": "Lax"}

    @property
    def _prefix(self) -> str:
        return "__Host-ezkielyna-" if self.secure else "ezkielyna-"
