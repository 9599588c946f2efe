"""Verify an e-mail address: by the link in the mail, or by the code on the page that waits.

A GET shows a button and changes nothing, because mail scanners follow links.
"""

from __future__ import annotations

from ezkielyna.console import pending
from ezkielyna.console.evenly import evenly
from ezkielyna.console.page import Page
from ezkielyna.console.pending import Pending
from ezkielyna.console.topic import Topic
from ezkielyna.contract.errors import RateLimited
from ezkielyna.storage.tickets import Ticket

DONE = "Your e-mail address is verified."
WRONG_CODE = "This code is not right, or was tried too often. Take it from the newest mail."


class Waiting(Page):
    """What the pages around a mail that is on its way have to know."""

    private = True

    def waiting(self) -> Pending | None:
        """Return which address this browser waits for; None where it waits for none."""
        remembered = pending.remembered(self)
        if self.account is None or (remembered and remembered.email == self.account.email):
            return remembered
        return Pending(self.account.email, "", 0)

    async def expected(self) -> str:
        """Return the ticket whose code this browser may type."""
        waiting = self.waiting()
        if waiting is not None and waiting.ticket:
            return waiting.ticket
        if self.account is None:
            return self.console.tickets.unissued()
        return await self.console.tickets.latest(self.account.id, "verify")

    async def verified_elsewhere(self) -> bool:
        """Tell whether the address was verified, by this account or by the mail's link."""
        if self.account is not None:
            return self.account.verified
        ticket = await self.console.tickets.find(await self.expected())
        return ticket is not None and ticket.state == "used"

    async def undeliverable(self) -> bool:
        """Tell whether the mail did not leave, or none does."""
        ticket = await self.console.tickets.find(await self.expected())
        return self.console.post.trouble is not None or (
            ticket is not None and ticket.undeliverable
        )


class Verify(Waiting):
    """The page behind the link, and the page that waits for it."""

    async def get(self) -> None:
        """Show the button of a link, or where the mail went."""
        text = self.get_query_argument("ticket", "")
        if text:
            await self._show_link(text)
        else:
            await self._show_waiting()

    async def post(self) -> None:
        """Verify."""
        text = self.text("ticket")
        tickets = self.console.tickets
        if text:
            ticket = await tickets.use(text, "verify")
        else:
            ticket = await tickets.use_code(await self.expected(), self._code(), "verify")
        if ticket is not None:
            await self._verified(ticket)
        elif text:
            await self._show_link(text)
        else:
            self.errors["code"] = WRONG_CODE
            self.set_status(422)
            await self._show_waiting()

    async def _verified(self, ticket: Ticket) -> None:
        account = await self.console.accounts.by_id(ticket.account)
        await self.console.errands.verified(account.id, account.email)
        pending.forget(self)
        if self.account is not None and self.account.id == account.id:
            self.flash(DONE)
            self.see_other(self.console.home)
        else:
            self.flash(f"{DONE} Log in to go on.")
            self.see_other("/login")

    async def _show_link(self, text: str) -> None:
        ticket = await self.console.tickets.read(text, "verify")
        state = "unknown" if ticket is None else ticket.state
        if state != "good":
            self.set_status(410)
        self.render("verify-link.html", title="Verify your e-mail", ticket=text, state=state)

    async def _show_waiting(self) -> None:
        waiting = self.waiting()
        if waiting is None:
            self.see_other("/login?next=%2Fverify")
            return
        if self.account is not None and self.account.verified:
            self.see_other(self.console.home)
            return
        self.render(
            "verify.html",
            title="Verify your e-mail",
            email=waiting.email,
            wait_s=waiting.wait_s,
            undeliverable=await self.undeliverable(),
            scripts=("verify.js",),
        )

    def _code(self) -> str:
        return "".join(self.text("code").split())


class VerifyState(Waiting):
    """Tells the page that waits whether the address was verified elsewhere."""

    async def get(self) -> None:
        """Answer in JSON."""
        self.set_header("Cache-Control", "no-store")
        verified = await self.verified_elsewhere()
        self.write({"verified": verified, "undeliverable": await self.undeliverable()})


class Done(Waiting):
    """Where the page that waited goes when the address was verified elsewhere."""

    async def get(self) -> None:
        """Send the browser on to log in, or home."""
        if self.account is None and not await self.verified_elsewhere():
            self.see_other("/verify")
            return
        pending.forget(self)
        if self.account is None:
            self.flash(f"{DONE} Log in to go on.")
        self.see_other("/login" if self.account is None else self.console.home)


class Resend(Waiting):
    """Sends the mail again: to who waits, or to the address of a link that is too old."""

    async def get(self) -> None:
        """Show the page that waits."""
        self.see_other("/verify")

    async def post(self) -> None:
        """Send it, and say so, whether or not there is somebody to send it to."""
        old = await self.console.tickets.read(self.text("ticket"), "verify")
        waiting = await self._whom(old)
        if waiting is None:
            self.see_other("/login?next=%2Fverify")
            return
        if waiting.wait_s:
            self.flash(f"Wait {waiting.wait_s} seconds before you ask for another mail.", "note")
            self.see_other("/verify")
            return
        try:
            self.console.mails.begin(self.client, waiting.email)
        except RateLimited as limited:
            self.flash(limited.message, "bad")
            self.see_other("/verify")
            return
        async with evenly():
            ticket = await self._send(waiting, known=old is not None or self.account is not None)
        pending.remember(self, Pending.now(waiting.email, ticket))
        self.flash("A new mail is on its way. Older links go on working for 24 hours.")
        self.see_other("/verify")

    async def _whom(self, old: Ticket | None) -> Pending | None:
        if old is None:
            return self.waiting()
        account = await self.console.accounts.by_id(old.account)
        return Pending(account.email, "", 0)

    async def _send(self, waiting: Pending, *, known: bool) -> str:
        """Return the new ticket's id; that of none where this browser may not have one.

        Who signed up with an address that has an account never gets a ticket for it.
        """
        console = self.console
        expected = await console.tickets.find(waiting.ticket) if waiting.ticket else None
        holder = await console.credentials.holder(waiting.email)
        if holder is None or holder.verified or not (known or expected):
            return console.tickets.unissued()
        return await console.errands.write_verification(holder.account, holder.email)


TOPIC = Topic(
    routes=(
        (r"/verify", Verify),
        (r"/verify/state", VerifyState),
        (r"/verify/done", Done),
        (r"/verify/resend", Resend),
    )
)
