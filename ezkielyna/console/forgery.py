"""Which requests may change something: those that a page of ours sent, in this browser's session.

Two independent checks, as OWASP's cheat sheet on cross-site request forgery recommends: the
browser's own word on where a request comes from (Fetch Metadata, else `Origin`), and a token that
is an HMAC over the session, so that a token of another session, or of none, is worth nothing.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from ezkielyna.storage.keyformat import derived

PURPOSE = "console-forgery"
FIELD = "_csrf"
HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site that a page of ours, or a person, causes."""


class Forgery:
    """Makes tokens and judges requests."""

    def __init__(self, secret: bytes, address: str) -> None:
        self._subkey = derived(secret, PURPOSE)
        self._host = urlsplit(address).netloc

    def token(self, session: str) -> str:
        """Return the token for the forms of a session, or of a visitor."""
        return hmac.digest(self._subkey, session.encode(), "sha256").hex()

    def refuses(self, request: HTTPServerRequest, session: str | None, token: str) -> str | None:
        """Return why this request must not change anything, None when it may."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site not in OWN_SITE:
            return "The request came from another site."
        if site is None and not self._own(request.headers.get("Origin"), request.host):
            return "The request came from another site."
        if session is None or not hmac.compare_digest(self.token(session).encode(), token.encode()):
            return "The form is out of date. Go back, reload the page and send it again."
        return None

    def _own(self, origin: str | None, host: str) -> bool:
        return origin is None or urlsplit(origin).netloc in (host, self._host)
