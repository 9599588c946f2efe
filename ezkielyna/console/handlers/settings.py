"""The account's own settings: password, sessions, mails, its data, its end, and what was done."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from tornado.iostream import StreamClosedError

from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.money import MoneyError, nano, usd
from ezkielyna.storage import notices, passwords, trail
from ezkielyna.storage.closing import close, exported

WRONG = "This is not your password."
SHOWN_STEPS = 10
PAGE_OF_STEPS = 50
FLUSH_BYTES = 64 * 1024

ACTS = {
    "account-closed": "Account closed",
    "account-limited": "Limits of the account changed",
    "account-resumed": "Account resumed",
    "account-suspended": "Account suspended",
    "correction": "Correction",
    "credit": "Credit",
    "email-verified": "E-mail address verified",
    "key-created": "Key created",
    "key-limited": "Limits of a key changed",
    "key-renamed": "Key renamed",
    "key-revoked": "Key revoked",
    "password-changed": "Password changed",
    "password-reset": "Password reset",
    "provider-tested": "Provider tested",
    "refund": "Refund",
    "top-up": "Top-up",
}
"""What people read for what the trail and the ledger call an act."""


class Settings(AccountPage):
    """Shows the settings; the pages that change one show it again with what was wrong."""

    async def get(self) -> None:
        """Show the page."""
        await self.show()

    async def show(self, **typed: str) -> None:
        """Show the page, with what was typed into a form that has an error."""
        database = self.console.database
        if self.errors:
            self.set_status(422)
        mark = await notices.mark_of(database, self.account.id)
        self.render(
            "settings.html",
            title="Settings",
            scripts=("strength.js",),
            sessions=await self.console.sessions.list(self.account.id),
            current=self.session.id,
            mark=typed.get("mark", "" if mark is None else usd(mark)),
            steps=await trail.read(database, self.account.id, limit=SHOWN_STEPS),
        )

    async def proves(self, field: str) -> bool:
        """True when a field holds the account's password; else says so beside it."""
        try:
            attempt = self.console.sign_ins.begin(self.client, self.account.email)
        except RateLimited as limited:
            self.wait(limited, field)
            return False
        password = self.text(field, passwords.LONGEST_BYTES)
        if await self.console.credentials.check(self.account.email, password) is None:
            self.errors[field] = WRONG
            return False
        attempt.succeeded()
        return True


class ChangePassword(Settings):
    """Sets another password and logs every other browser out."""

    async def get(self) -> None:
        """Show the settings."""
        self.see_other("/settings")

    async def post(self) -> None:
        """Change it."""
        password = self.text("new", passwords.LONGEST_BYTES + 1)
        weakness = passwords.weakness(password, self.account.email)
        if weakness is not None:
            self.errors["new"] = weakness
        elif await self.proves("current"):
            await self._change(await passwords.hashed(password))
            return
        await self.show()

    async def _change(self, password_hash: str) -> None:
        console, account = self.console, self.account
        await console.credentials.set_password(account.id, password_hash)
        await console.sessions.end_all(account.id)
        await console.tickets.void(account.id)
        await self.begin_session(account.id)
        await trail.note(console.database, account.id, "password-changed", by="console")
        console.errands.write_password_changed(account.email)
        self.flash("Your password is changed, and every other browser is logged out.")
        self.see_other("/settings")


class Notifications(Settings):
    """Sets when the account wants to hear of a low balance."""

    async def get(self) -> None:
        """Show the settings."""
        self.see_other("/settings")

    async def post(self) -> None:
        """Set it; an empty amount ends the mails."""
        typed = self.text("mark").strip()
        try:
            mark = nano(typed.lstrip("$")) if typed else None
            if mark is not None and mark <= 0:
                raise MoneyError("A mark is more than nothing; leave it empty for no mails")
        except MoneyError as error:
            self.errors["mark"] = f"{error}."
            await self.show(mark=typed)
            return
        await notices.set_mark(self.console.database, self.account.id, mark)
        self.flash("Saved." if mark else "You get no mails about your balance.")
        self.see_other("/settings")


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
        self.flash(f"{ended} other sessions ended." if ended != 1 else "One other session ended.")
        self.see_other("/settings")


class Export(AccountPage):
    """Everything that is known of the account, as a file of JSON that is streamed."""

    async def get(self) -> None:
        """Send the file."""
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Disposition", f'attachment; filename="ezkielyna-{today}.json"')
        self.set_header("Cache-Control", "no-store")
        try:
            await self._send()
        except StreamClosedError:
            self.finish()

    async def _send(self) -> None:
        about = "Amounts are whole nano-dollars (1e-9 USD), rates are those per million tokens."
        self.write(b'{"about":' + orjson.dumps(about))
        collection, size = "", 0
        async for name, document in exported(self.console.database, self.account.id):
            row = orjson.dumps(document, default=str)
            if name == collection:
                row = b"," + row
            else:
                opening = b',"' + name.encode() + b'":['
                row = (b"]" if collection else b"") + opening + row
                collection = name
            self.write(row)
            size += len(row)
            if size > FLUSH_BYTES:
                size = 0
                await self.flush()
        self.write(b"]}")


class Delete(Settings):
    """Closes the account for ever, with its password."""

    async def get(self) -> None:
        """Say what closing means, and ask."""
        self._ask()

    async def post(self) -> None:
        """Close it."""
        if self.account.balance and self.text("give_up") != "yes":
            self.errors["give_up"] = "Say that you give the balance up, or have it paid back first."
        if self.errors or not await self.proves("password"):
            self.set_status(422)
            self._ask()
            return
        await close(self.console.database, self.account.id)
        self.clear_cookie(self.console.cookies.session, **self.console.cookies.attributes())
        self.flash("Your account is closed.")
        self.see_other("/")

    def _ask(self) -> None:
        self.render("delete.html", title="Delete account")


class History(AccountPage):
    """All that was done to keys, money and settings."""

    async def get(self) -> None:
        """Show a page of it, from a moment back."""
        until = self._until()
        steps = await trail.read(
            self.console.database, self.account.id, until=until, limit=PAGE_OF_STEPS
        )
        more = steps[-1].at.isoformat() if len(steps) == PAGE_OF_STEPS else ""
        self.render("history.html", title="History", steps=steps, more=more, until=until)

    def _until(self) -> datetime | None:
        try:
            moment = datetime.fromisoformat(self.get_query_argument("until", ""))
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def act(step: trail.Step) -> str:
    """Return what people read for an act."""
    return ACTS.get(step.act, step.act)


TOPIC = Topic(
    routes=(
        (r"/settings", Settings),
        (r"/settings/password", ChangePassword),
        (r"/settings/notifications", Notifications),
        (r"/settings/sessions/end", EndSession),
        (r"/settings/sessions/end-others", EndOtherSessions),
        (r"/settings/export", Export),
        (r"/settings/delete", Delete),
        (r"/settings/history", History),
    ),
    menu=(Entry(90, "Settings", "/settings", "gear"),),
    names={"act": act},
)
