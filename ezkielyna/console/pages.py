"""The pages: what a browser sees, and the two health endpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Page(RequestHandler):
    """A page: strict headers, no trace of the server's software."""

    def set_default_headers(self) -> None:
        """Set what every page carries."""
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")

    def head(self) -> None:
        """Answer as GET does; Tornado leaves the body out."""
        self.get()

    def write_error(self, status_code: int, **_: Any) -> None:
        """Show what went wrong as a page."""
        self.render("error.html", status=status_code, reason=self._reason)


class Landing(Page):
    """What this is, the base URL, and a first call."""

    def initialize(self, address: str, models: Callable[[], list[str]]) -> None:
        """Take what the page shows."""
        self.address = address
        self.models = models

    def get(self) -> None:
        """Show the page."""
        self.render("landing.html", address=self.address, models=self.models())


class Missing(Page):
    """Everything that is not there."""

    def prepare(self) -> None:
        """Answer 404 to every method."""
        self.send_error(404)


class Health(Page):
    """The process is alive."""

    def get(self) -> None:
        """Answer 200."""
        self.write({"status": "alive"})


class Ready(Page):
    """The process can serve: 503 while it drains or cannot. What serves degraded is named."""

    def initialize(
        self, obstacle: Callable[[], str | None], degraded: Callable[[], list[str]]
    ) -> None:
        """Take what tells why not, and what is not as it should be."""
        self.obstacle = obstacle
        self.degraded = degraded

    def get(self) -> None:
        """Answer 200 or 503 with the reason."""
        obstacle = self.obstacle()
        if obstacle is not None:
            self.set_status(503)
        status = "ready" if obstacle is None else obstacle
        self.write({"status": status, "degraded": self.degraded()})


def pages(
    address: str,
    models: Callable[[], list[str]],
    obstacle: Callable[[], str | None],
    degraded: Callable[[], list[str]],
) -> Application:
    """Return the application that serves everything but the API.

    `obstacle` says why the process cannot serve, None when it can; `degraded` names what goes on
    in a lesser way. Neither tells an address.
    """
    return Application(
        [
            (r"/", Landing, {"address": address, "models": models}),
            (r"/healthz", Health),
            (r"/readyz", Ready, {"obstacle": obstacle, "degraded": degraded}),
        ],
        default_handler_class=Missing,
        template_path=str(HERE / "templates"),
        static_path=str(HERE / "static"),
        compress_response=False,
    )
