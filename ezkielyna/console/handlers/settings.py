"""The account's own settings: where it is logged in."""

from __future__ import annotations

from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic


class Settings(AccountPage):
    """Shows the settings."""

    async def get(self) -> None:
        """Show the page."""
        sessions = await self.console.sessions.list(self.account.id)
        self.render("settings.html", title="Settings", sessions=sessions, current=self.session.id)


class EndSession(AccountPage):
    """Logs another browser of this account out."""

    async def post(self) -> None:
        """End the session that is named."""
        if await self.console.sessions.end(self.account.id, self.text("session")):
            self.flash("That session is logged out.")
        else:
            self.flash("That session was over already.", "note")
        self.see_other("/settings")


class EndOtherSessions(AccountPage):
    """Logs every other browser of this account out."""

    async def post(self) -> None:
        """End all sessions but this one."""
        ended = await self.console.sessions.end_all(self.account.id, besides=self.session.id)
        self.flash(f"Logged out everywhere else: {ended} sessions ended.")
        self.see_other("/settings")


TOPIC = Topic(
    routes=(
        (r"/settings", Settings),
        (r"/settings/sessions/end", EndSession),
        (r"/settings/sessions/end-others", EndOtherSessions),
    ),
    menu=(Entry(90, "Settings", "/settings", "gear"),),
)
