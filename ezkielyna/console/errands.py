"""What an account does by mail: prove its address, set a new password."""

from __future__ import annotations

from ezkielyna.contract.money import Nano
from ezkielyna.mail.letters import Letter
from ezkielyna.mail.post import Post
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.database import Database
from ezkielyna.storage.keyformat import derived, fingerprint
from ezkielyna.storage.tickets import Errand, Tickets


class Errands:
    """Writes the letters with tickets, and does what using a ticket means.

    Links are made of the configured address, never of what a request says.
    """

    def __init__(
        self, database: Database, secret: bytes, post: Post, address: str, credit: Nano
    ) -> None:
        self._credentials = Credentials(database)
        self._tickets = Tickets(database, secret)
        self._post = post
        self._address = address
        self._credit = credit
        self._mailboxes = derived(secret, "welcome-credit")

    async def write_verification(self, account_id: str, email: str) -> str:
        """Send a link and a code that verify the address; return the ticket's id."""
        return await self._write(
            account_id, email, "verify", "verify", "Verify your e-mail address"
        )

    async def write_exists(self, account_id: str, email: str) -> None:
        """Tell who signs up again that there is an account, with a link to a new password."""
        await self._write(account_id, email, "reset", "exists", "You have an account already")

    async def write_reset(self, account_id: str, email: str) -> None:
        """Send a link to a new password."""
        await self._write(account_id, email, "reset", "reset", "Set a new password")

    def write_password_changed(self, email: str) -> None:
        """Tell that the password is another one now."""
        values = {"address": self._address}
        self._post.send(Letter(email, "password-changed", "Your password was changed", values))

    async def verified(self, account_id: str, email: str) -> bool:
        """Note that the address is the account's, and give the welcome credit.

        A mailbox gets it once, however its address is tagged and however often it signs up.
        """
        name, _, domain = email.rpartition("@")
        mailbox = f"{name.partition('+')[0]}@{domain}"
        reference = f"welcome-{fingerprint(self._mailboxes, mailbox)[:32]}"
        return await self._credentials.verify(account_id, credit=self._credit, reference=reference)

    async def _write(
        self, account_id: str, email: str, errand: Errand, letter: str, subject: str
    ) -> str:
        ticket = await self._tickets.issue(account_id, errand)
        values = {
            "address": self._address,
            "link": f"{self._address}/{errand}?ticket={ticket.text}",
            "code": ticket.code,
        }
        self._post.send(
            Letter(email, letter, subject, values),
            failed=lambda: self._tickets.undeliverable(ticket.id),
        )
        return ticket.id
