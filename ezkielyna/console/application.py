"""The Tornado application that serves everything but the API, and what its pages may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler, StaticFileHandler

from ezkielyna.console import formats, ui
from ezkielyna.console.cookies import Cookies
from ezkielyna.console.errands import Errands
from ezkielyna.console.forgery import Forgery
from ezkielyna.console.handlers import TOPICS
from ezkielyna.console.margins import Costs, costs
from ezkielyna.console.measured import Measured
from ezkielyna.console.office import Office
from ezkielyna.console.page import MissingPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.context import Model, Plan, Route
from ezkielyna.ledger.live import Live
from ezkielyna.ledger.payments import Payments
from ezkielyna.mail.post import Post
from ezkielyna.settings import Settings
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.database import Database
from ezkielyna.storage.keyformat import derived
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.session_keys import SessionKeys
from ezkielyna.storage.tickets import Tickets
from ezkielyna.throttle import BAD_CODES, SIGN_INS, SIGN_UPS, Attempts, Throttle
from ezkielyna.wire.client_address import ClientAddresses

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Console:
    """What pages may use: the rooms below, made once.

    `obstacle` says why the process cannot serve, None when it can; `degraded` names what goes on
    in a lesser way. Neither tells an address.
    """

    settings: Settings
    database: Database
    secret: bytes = field(repr=False)
    models: Mapping[str, Model]
    plans: Mapping[str, Plan]
    obstacle: Callable[[], str | None]
    degraded: Callable[[], list[str]]
    post: Post
    addresses: ClientAddresses
    payments: Payments
    live: Live
    office: Office
    topics: Sequence[Topic] = TOPICS

    @property
    def address(self) -> str:
        """How clients reach us, without a trailing slash."""
        return self.settings.server.address

    @cached_property
    def accounts(self) -> Accounts:
        """Who pays."""
        return Accounts(self.database)

    @cached_property
    def credentials(self) -> Credentials:
        """What they log in with."""
        return Credentials(self.database)

    @cached_property
    def sessions(self) -> ConsoleSessions:
        """Who is logged in."""
        return ConsoleSessions(self.database, self.secret)

    @cached_property
    def tickets(self) -> Tickets:
        """What mails let their readers do."""
        return Tickets(self.database, self.secret)

    @cached_property
    def errands(self) -> Errands:
        """Letters with tickets."""
        credit = self.settings.accounts.signup_credit
        return Errands(self.database, self.secret, self.post, self.address, credit)

    @cached_property
    def sign_ins(self) -> Attempts:
        """Who tries passwords."""
        return Attempts(SIGN_INS)

    @cached_property
    def sign_ups(self) -> Attempts:
        """Who makes accounts."""
        return Attempts(SIGN_UPS)

    @cached_property
    def mails(self) -> Attempts:
        """Who asks for mails to be sent."""
        return Attempts(SIGN_UPS)

    @cached_property
    def keys(self) -> Keys:
        """API keys."""
        return Keys(self.database, self.secret)

    @cached_property
    def session_keys(self) -> SessionKeys:
        """Keys that pages use themselves."""
        return SessionKeys(self.database, self.secret)

    @cached_property
    def bad_codes(self) -> Throttle:
        """Accounts that type voucher codes in vain."""
        return Throttle(BAD_CODES)

    @cached_property
    def cookies(self) -> Cookies:
        """Names and attributes of cookies."""
        return Cookies(secure=self.address.startswith("https://"))

    @cached_property
    def forgery(self) -> Forgery:
        """Which requests may change something."""
        return Forgery(self.secret, self.address)

    @cached_property
    def template_names(self) -> Mapping[str, Any]:
        """What templates know beside what a page hands them."""
        names: dict[str, Any] = {
            "browser": formats.browser,
            "count": formats.count,
            "day": formats.day,
            "money": formats.money,
            "when": formats.when,
        }
        for topic in self.topics:
            names.update(topic.names)
        return names

    def has(self, path: str) -> bool:
        """True when some topic serves this path; for links between topics."""
        return any(pattern == path for topic in self.topics for pattern, _ in topic.routes)

    @cached_property
    def home(self) -> str:
        """Where who logged in begins: the first entry of the menu."""
        return self.menu(everybody=False)[0].path

    def menu(self, *, everybody: bool, operator: bool = False) -> Sequence[Entry]:
        """Return the entries of the menu; with `everybody` those that need no log-in."""
        return [
            entry
            for entry in self._entries
            if (entry.public or not everybody) and (operator or not entry.operators)
        ]

    @cached_property
    def operators(self) -> frozenset[str]:
        """The e-mail addresses of operators, as accounts have them."""
        return frozenset(address.strip().lower() for address in self.settings.accounts.operators)

    @cached_property
    def measured(self) -> Measured:
        """How fast models were of late."""
        return Measured(self.database)

    @cached_property
    def costs(self) -> Costs:
        """What upstreams charge for our models."""
        return costs(self.settings, self.models, self.plans, self.office.policies)

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        return sorted(entry for topic in self.topics for entry in topic.menu)


class Static(StaticFileHandler):
    """Our stylesheet and scripts."""

    def set_default_headers(self) -> None:
        """Set what every file carries."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")


def application(console: Console, rules: Sequence[Route] = ()) -> Application:
    """Return the application of a console; `rules` are those of plugins, and come last."""
    return Application(
        [*(route for topic in console.topics for route in topic.routes), *rules],
        default_handler_class=MissingPage,
        console=console,
        cookie_secret=derived(console.secret, "console-cookie").hex(),
        template_path=str(HERE / "templates"),
        static_path=str(HERE / "static"),
        template_whitespace="all",
        static_handler_class=Static,
        ui_modules=ui,
        compress_response=False,
        log_function=_log,
    )


def _log(handler: RequestHandler) -> None:
    """Say nothing of answers: what fails is logged where it fails."""
