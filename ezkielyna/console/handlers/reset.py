"""Set a new password by mail. Nothing tells whether an address has an account."""

from __future__ import annotations

from ezkielyna.console.evenly import evenly
from ezkielyna.console.page import Page
from ezkielyna.console.topic import Topic
from ezkielyna.contract.errors import RateLimited
from ezkielyna.storage import passwords
from ezkielyna.storage.accounts import AccountRecord
from ezkielyna.storage.trail import note


class Reset(Page):
    """Asks for an address; behind a link, for the new password."""

    private = True

    async def get(self) -> None:
        """Show the form."""
        text = self.get_query_argument("ticket", "")
        if text:
            await self._show_link(text)
        else:
            self._show()

    async def post(self) -> None:
        """Write to the address, or set the password."""
        text = self.text("ticket")
        if text:
            await self._set(text)
        else:
            await self._write()

    async def _write(self) -> None:
        email = self.text("email").strip()
        if not email:
            self.errors["email"] = "Type the address of your account."
            self._show(status=422)
            return
        try:
            self.console.mails.begin(self.client, email)
        except RateLimited as limited:
            self.wait(limited, "email")
            self._show(email, status=429)
            return
        async with evenly():
            holder = await self.console.credentials.holder(email)
            if holder is not None:
                await self.console.errands.write_reset(holder.account, holder.email)
        self._show(email, sent=True)

    async def _set(self, text: str) -> None:
        console = self.console
        ticket = await console.tickets.read(text, "reset")
        if ticket is None or ticket.state != "good":
            await self._show_link(text)
            return
        account = await console.accounts.by_id(ticket.account)
        password = self.text("password", passwords.LONGEST_BYTES + 1)
        weakness = passwords.weakness(password, account.email)
        if weakness is not None:
            self.errors["password"] = weakness
            self.set_status(422)
            await self._show_link(text)
            return
        password_hash = await passwords.hashed(password)
        if await console.tickets.use(text, "reset") is None:
            await self._show_link(text)
            return
        await self._changed(account, password_hash)
        self.flash("Your password is set. Log in with it.")
        self.see_other("/login")

    async def _changed(self, account: AccountRecord, password_hash: str) -> None:
        """Put the password in force. The mail also proved whose address it is."""
        console = self.console
        await console.credentials.set_password(account.id, password_hash)
        await console.sessions.end_all(account.id)
        await console.tickets.void(account.id)
        await console.errands.verified(account.id, account.email)
        await note(console.database, account.id, "password-reset", by="a link in a mail")
        console.errands.write_password_changed(account.email)

    async def _show_link(self, text: str) -> None:
        ticket = await self.console.tickets.read(text, "reset")
        state = "unknown" if ticket is None else ticket.state
        if state != "good":
            self.set_status(410)
        self.render(
            "reset-link.html",
            title="Set a new password",
            scripts=("strength.js",),
            ticket=text,
            state=state,
        )

    def _show(self, email: str = "", *, sent: bool = False, status: int = 200) -> None:
        self.set_status(status)
        self.render(
            "reset.html",
            title="Set a new password",
            email=email,
            sent=sent,
            trouble=self.console.post.trouble is not None,
        )


TOPIC = Topic(routes=((r"/reset", Reset),))
