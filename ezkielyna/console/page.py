"""What every page does: strict headers, who is there, forms that cannot be forged, errors."""

from __future__ import annotations

import math
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import structlog
from tornado.web import HTTPError, RequestHandler

from ezkielyna.console.forgery import FIELD, HEADER, SAFE_METHODS
from ezkielyna.contract.errors import GatewayError, RateLimited
from ezkielyna.storage.accounts import AccountRecord
from ezkielyna.storage.console_sessions import LONGEST, ConsoleSession
from ezkielyna.storage.errors import Missing, StorageAway
from ezkielyna.wire.request_id import new_request_id

if TYPE_CHECKING:
    from ezkielyna.console.application import Console

log = structlog.stdlib.get_logger("ezkielyna.console")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAX_FORM = 64 * 1024
SESSION_S = int(LONGEST.total_seconds())

_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


class Page(RequestHandler):
    """A page that anybody may see; `self.account` is who is logged in, or None.

    A POST reaches `post` only when it carries the token of this browser's session and does not
    come from another site.
    """

    max_body = MAX_FORM
    """The largest body in bytes that a POST may have."""

    private = False
    """True where strangers, too, see what concerns them alone: an address, a ticket."""

    blamed: str | None = None
    """The plugin whose code makes the page, if one's does; the log names it."""

    account: AccountRecord | None = None
    session: ConsoleSession | None = None

    def initialize(self) -> None:
        """Begin with nobody and nothing wrong."""
        self.errors: dict[str, str] = {}
        self._csrf = ""

    @property
    def console(self) -> Console:
        """What pages may use."""
        console: Console = self.application.settings["console"]
        return console

    def set_default_headers(self) -> None:
        """Set what every page carries."""
        if not hasattr(self, "request_id"):
            self.request_id = new_request_id()
        self.clear_header("Server")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        if self.application.settings["console"].cookies.secure:
            self.set_header("Strict-Transport-Security", "max-age=31536000")

    async def prepare(self) -> None:
        """Find out who is there, then refuse what must not be."""
        if len(self.request.body) > self.max_body:
            raise HTTPError(413)
        await self._recognise()
        if self.request.method not in SAFE_METHODS:
            self._refuse_forgery()

    @property
    def operator(self) -> bool:
        """True where an operator is logged in; only a verified address proves who that is."""
        who = self.account
        if who is None or not who.verified or who.status != "active":
            return False
        return who.email in self.console.operators

    async def head(self, *arguments: str, **named: str) -> None:
        """Answer as GET does; Tornado leaves the body out."""
        answer: Any = self.get(*arguments, **named)
        if answer is not None:
            await answer

    @property
    def next_path(self) -> str:
        """The local path in the argument `next`; empty without one, or for any other address."""
        return local_path(self.get_argument("next", ""))

    def text(self, name: str, longest: int = 1_024) -> str:
        """Return a field of the form, trimmed; raises 400 for more than `longest` characters."""
        value = self.get_body_argument(name, "")
        if len(value) > longest:
            raise HTTPError(400, reason=f"{name} is too long")
        return value

    def flash(self, message: str, kind: str = "good") -> None:
        """Show a message on the next page; `kind` is good, note or bad."""
        cookies = self.console.cookies
        self.set_signed_cookie(cookies.flash, f"{kind}:{message}", None, **cookies.attributes())

    def render(self, template_name: str, **names: Any) -> Any:
        """Answer with a template. `title` names the page.

        `scripts` are modules, and `styles` further stylesheets, in `static/`.

        Pages that show somebody's data are never kept by a cache.
        """
        secret = self.private or self.account is not None
        if secret or self.request.method not in SAFE_METHODS:
            self.set_header("Cache-Control", "no-store")
        elif "Cache-Control" not in self._headers:
            self.set_header("Cache-Control", "no-cache")
        return super().render(template_name, **names)

    def get_template_namespace(self) -> dict[str, Any]:
        """Return the names that every template knows."""
        names = super().get_template_namespace()
        names.update(
            self.console.template_names,
            account=self.account,
            address=self.console.address,
            errors=self.errors,
            flash=self._take_flash(),
            menu=self.console.menu(everybody=self.account is None, operator=self.operator),
            path=self.request.path,
            scripts=(),
            styles=(),
            title="Ezkielyna",
        )
        return names

    @property
    def csrf(self) -> str:
        """The token for forms of this browser's session; makes a visitor known by a cookie."""
        if not self._csrf:
            self._csrf = self.console.forgery.token(self._bound_to() or self._welcome())
        return self._csrf

    def write_error(self, status_code: int, **named: Any) -> None:
        """Show what went wrong as a page, with the request's id."""
        self.errors = {}
        self.set_header("Cache-Control", "no-store")
        if status_code in (429, 503):
            self.set_header(
                "Retry-After", str(retry_after_s((named.get("exc_info") or [None, None])[1]))
            )
        reason = named.get("reason") or self._reason
        self.render("error.html", title=reason, status=status_code, reason=reason)

    def send_error(self, status_code: int = 500, **named: Any) -> None:
        """Answer an error; a database that is away is 503, not a fault of the page."""
        error = (named.get("exc_info") or (None, None))[1]
        if isinstance(error, StorageAway):
            status_code = 503
            self.account = None
        elif isinstance(error, Missing):
            status_code = 404
        elif isinstance(error, GatewayError):
            status_code = error.status
            named["reason"] = error.message
        super().send_error(status_code, **named)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is a fault of ours, with the request's id."""
        if isinstance(value, HTTPError | Missing | GatewayError):
            return
        if isinstance(value, StorageAway):
            log.warning("no database for a page", request_id=self.request_id)
            return
        log.error(
            "page failed",
            request_id=self.request_id,
            path=self.request.path,
            plugin=self.blamed,
            exc_info=(typ, value, tb),
        )

    async def begin_session(self, account_id: str) -> None:
        """Log an account in: a new token, whatever the browser had before."""
        cookies = self.console.cookies
        old = self.session
        token = await self.console.sessions.begin(
            account_id,
            agent=self.request.headers.get("User-Agent", ""),
            address=self.client,
        )
        if old is not None:
            await self.console.sessions.end(old.account, old.id)
        self.clear_cookie(cookies.visitor, **cookies.attributes())
        self.set_cookie(cookies.session, token, max_age=SESSION_S, **cookies.attributes())

    def wait(self, limited: RateLimited, field: str) -> None:
        """Say beside a field of the form that it may be sent again later, and when."""
        self.errors[field] = limited.message
        self.set_header("Retry-After", str(retry_after_s(limited)))

    @property
    def client(self) -> str:
        """The address of who asks."""
        forwarded = ",".join(self.request.headers.get_list("X-Forwarded-For")) or None
        return self.console.addresses.of(self.request.remote_ip or "", forwarded)

    def see_other(self, path: str) -> None:
        """Send the browser to another page with GET."""
        self.redirect(path, status=303)

    async def _recognise(self) -> None:
        token = self.get_cookie(self.console.cookies.session)
        if not token:
            return
        session = await self.console.sessions.find(token)
        if session is None:
            return
        try:
            self.account = await self.console.accounts.by_id(session.account)
        except Missing:
            return
        self.session = session

    def _refuse_forgery(self) -> None:
        given = self.get_body_argument(FIELD, "") or self.request.headers.get(HEADER, "")
        refusal = self.console.forgery.refuses(self.request, self._bound_to(), given)
        if refusal is not None:
            raise HTTPError(403, reason=refusal)

    def _bound_to(self) -> str | None:
        cookies = self.console.cookies
        if self.session is not None:
            return self.get_cookie(cookies.session)
        return self.get_cookie(cookies.visitor)

    def _welcome(self) -> str:
        cookies = self.console.cookies
        visitor = secrets.token_urlsafe(16)
        self.set_cookie(cookies.visitor, visitor, **cookies.attributes())
        return visitor

    def _take_flash(self) -> tuple[str, str] | None:
        name = self.console.cookies.flash
        value = self.get_signed_cookie(name)
        if value is None:
            return None
        self.clear_cookie(name, **self.console.cookies.attributes())
        kind, _, message = value.decode().partition(":")
        return kind, message


class AccountPage(Page):
    """A page for who is logged in; others are sent to log in and come back."""

    account: AccountRecord
    session: ConsoleSession

    async def prepare(self) -> None:
        """Let nobody through who is not logged in."""
        await super().prepare()
        if self._finished or self.session is not None:
            return
        if self.request.method in ("GET", "HEAD"):
            self.see_other(f"/login?next={quote(self.request.uri or '/', safe='')}")
        else:
            self.see_other("/login")


class MissingPage(Page):
    """Everything that is not there."""

    async def prepare(self) -> None:
        """Answer 404 to every method."""
        raise HTTPError(404)


def retry_after_s(error: BaseException | None) -> int:
    """Return after how many whole seconds who met this error may try again."""
    seconds = getattr(error, "retry_after_s", None) or 5.0
    return math.ceil(seconds)


def local_path(address: str) -> str:
    """Return an address when it is a path of ours, else nothing: never a way to another site."""
    if _LOCAL_PATH.fullmatch(address) is None:
        return ""
    parts = urlsplit(address)
    return "" if parts.scheme or parts.netloc else address
