"""Create an account. The answer is the same for an address that has one already."""

from __future__ import annotations

from ezkielyna.console.evenly import evenly
from ezkielyna.console.page import Page
from ezkielyna.console.pending import Pending, remember
from ezkielyna.console.topic import Topic
from ezkielyna.contract.errors import RateLimited
from ezkielyna.mail.letters import Unaddressable, addressable
from ezkielyna.storage import passwords
from ezkielyna.storage.accounts import normalised
from ezkielyna.storage.errors import Duplicate, Invalid


class SignUp(Page):
    """One form on one page."""

    def get(self) -> None:
        """Show the form."""
        if self.account is not None:
            self.see_other(self.console.home)
            return
        self._show()

    async def post(self) -> None:
        """Make the account and write to its address; write another letter where there is one."""
        if not self.console.settings.accounts.signup:
            self._show(status=403)
            return
        given, password = self.text("email"), self.text("password", passwords.LONGEST_BYTES + 1)
        email = self._checked(given, password)
        if self.errors:
            self._show(given, status=422)
            return
        try:
            self.console.sign_ups.begin(self.client, email)
        except RateLimited as limited:
            self.wait(limited, "email")
            self._show(given, status=429)
            return
        password_hash = await passwords.hashed(password)
        async with evenly():
            ticket = await self._make(email, password_hash)
        remember(self, Pending.now(email, ticket))
        self.see_other("/verify")

    async def _make(self, email: str, password_hash: str) -> str:
        """Return the id of the ticket that verifies the address, or one that means nothing."""
        console = self.console
        try:
            account = await console.accounts.create(
                email, console.settings.accounts.plan, password_hash=password_hash, by="sign-up"
            )
        except Duplicate:
            holder = await console.credentials.holder(email)
            if holder is not None:
                await console.errands.write_exists(holder.account, holder.email)
            return console.tickets.unissued()
        return await console.errands.write_verification(account.id, account.email)

    def _checked(self, given: str, password: str) -> str:
        email = ""
        try:
            email = normalised(given)
            addressable(email)
        except (Invalid, Unaddressable):
            self.errors["email"] = "This is not an e-mail address. Write it as name@example.com."
        weakness = passwords.weakness(password, email)
        if weakness is not None:
            self.errors["password"] = weakness
        return email

    def _show(self, email: str = "", status: int = 200) -> None:
        self.set_status(status)
        accounts = self.console.settings.accounts
        self.render(
            "signup.html",
            title="Create account",
            scripts=("strength.js",),
            email=email,
            open_to_all=accounts.signup,
            credit=accounts.signup_credit,
        )


TOPIC = Topic(routes=((r"/signup", SignUp),))
