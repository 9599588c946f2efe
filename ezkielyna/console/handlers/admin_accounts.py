"""Operators: accounts, their limits, and money that is given by hand."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tornado.web import HTTPError

from ezkielyna.console.handlers.admin import OperatorPage
from ezkielyna.console.topic import Topic
from ezkielyna.contract.limits import LIMIT_NAMES, Limits, Override
from ezkielyna.contract.money import MoneyError, Nano, nano, usd
from ezkielyna.ledger.statistics import spending
from ezkielyna.storage import ledger, trail
from ezkielyna.storage.accounts import AccountRecord
from ezkielyna.storage.credits import credit
from ezkielyna.storage.errors import Conflict, Invalid, Overdrawn
from ezkielyna.storage.keyformat import identifier

PAGE = 50
RECENT = 10
LONGEST_REASON = 200
MOST = nano("1000")
"""The most in nano-dollars that a page books; more is for the command line."""

MOST_LIMIT = 10**15
WORDS = {
    "rpm": "Requests a minute",
    "tpm": "Tokens a minute",
    "tpd": "Tokens a day",
    "concurrency": "Requests at once",
}
"""What people call the limits."""

_REFERENCE = re.compile(r"manual_[0-9A-Za-z]{20}", re.ASCII)


class AdminAccounts(OperatorPage):
    """Accounts by e-mail address."""

    async def get(self) -> None:
        """Show those whose address begins with what is sought."""
        sought = self.get_query_argument("q", "").strip().lower()[:254]
        after = self.get_query_argument("after", "")[:254]
        found = await self.console.accounts.search(sought, after=after, limit=PAGE + 1)
        self.render(
            "admin-accounts.html",
            title="Accounts",
            sought=sought,
            after=after,
            accounts=found[:PAGE],
            more=found[PAGE - 1].email if len(found) > PAGE else "",
        )


class AdminAccount(OperatorPage):
    """One account, read-only, and what an operator may do with it."""

    async def get(self, account_id: str) -> None:
        """Show it."""
        await self.show(await self.console.accounts.by_id(account_id))

    async def show(self, one: AccountRecord, **typed: str) -> None:
        """Show an account, with what was typed into the form."""
        if self.errors:
            self.set_status(422)
        database, now = self.console.database, datetime.now(UTC)
        own = one.limits or Override()
        values = {name: getattr(own, name) for name in LIMIT_NAMES}
        limits = {name: "" if value is None else str(value) for name, value in values.items()}
        keys = await self.console.keys.list(one.id)
        self.render(
            "admin-account.html",
            title=one.email,
            one=one,
            typed={"amount": "", "reason": "", **limits, **typed},
            reference=identifier("manual"),
            plan=self._plan(one),
            own=own,
            now=now,
            spending=await spending(database, one.id, now),
            keys=keys,
            spent=await self.console.keys.spent(one.id, [key.id for key in keys]),
            entries=await ledger.page(database, one.id, RECENT),
            steps=await trail.read(database, one.id, limit=RECENT),
        )

    def _plan(self, one: AccountRecord) -> Limits:
        """Return the limits of the account's plan; of the usual one where its own is gone."""
        console = self.console
        plan = console.plans.get(one.plan) or console.plans[console.settings.accounts.plan]
        return Limits(plan.rpm, plan.tpm, plan.tpd, plan.concurrency)


class AdminStatus(OperatorPage):
    """Suspends an account, or lets it go on."""

    async def post(self, account_id: str) -> None:
        """Do it, but never to oneself."""
        one = await self.console.accounts.by_id(account_id)
        if one.id == self.account.id:
            raise HTTPError(400, reason="You cannot suspend your own account")
        if self.text("act") == "suspend":
            await self.console.accounts.suspend(one.email, by=self.signature)
            self.flash(f"{one.email} is suspended; its keys are refused within seconds.", "note")
        else:
            await self.console.accounts.resume(one.email, by=self.signature)
            self.flash(f"{one.email} may go on.")
        self.see_other(f"/admin/accounts/{one.id}")


class AdminLimits(AdminAccount):
    """Raises or lowers the limits of an account, beside its plan's."""

    async def get(self, account_id: str) -> None:
        """Lead to the account, which has the form."""
        self.see_other(f"/admin/accounts/{(await self.console.accounts.by_id(account_id)).id}")

    async def post(self, account_id: str) -> None:
        """Set them; limits of single models stay as they are."""
        one = await self.console.accounts.by_id(account_id)
        typed = {name: self.text(name, 40) for name in LIMIT_NAMES}
        rpm, tpm, tpd, concurrency = (self._limit(name, typed[name]) for name in LIMIT_NAMES)
        if self.errors:
            await self.show(one, **typed)
            return
        models = one.limits.models if one.limits is not None else ()
        override = Override(rpm, tpm, tpd, concurrency, models)
        await self.console.accounts.set_limits(one.email, override, by=self.signature)
        self.flash(f"The limits of {one.email} are in force within seconds.")
        self.see_other(f"/admin/accounts/{one.id}")

    def _limit(self, name: str, text: str) -> int | None:
        """Return a limit, None for the plan's; what is none is said beside its field."""
        digits = text.replace(",", "").replace("_", "")
        if not digits:
            return None
        if not (digits.isascii() and digits.isdigit()) or int(digits) > MOST_LIMIT:
            self.errors[name] = "Write a whole number, 0 for no limit, or nothing for the plan's."
            return None
        return int(digits)


class AdminCredit(AdminAccount):
    """Books money by hand in two steps: first it is shown what would be, then it is booked."""

    async def get(self, account_id: str) -> None:
        """Lead to the account: there is nothing to see without a form."""
        self.see_other(f"/admin/accounts/{(await self.console.accounts.by_id(account_id)).id}")

    async def post(self, account_id: str) -> None:
        """Show what would be booked, or book it; the same form twice books once."""
        one = await self.console.accounts.by_id(account_id)
        typed = {"amount": self.text("amount", 40), "reason": self.text("reason")}
        reference = self.text("reference")
        if not _REFERENCE.fullmatch(reference):
            raise HTTPError(400, reason="this form is not ours; go back to the account")
        amount = self._amount(typed["amount"])
        if not 0 < len(typed["reason"]) <= LONGEST_REASON:
            self.errors["reason"] = f"Say why, in at most {LONGEST_REASON} letters."
        if self.errors:
            await self.show(one, **typed)
        elif self.text("confirmed") != "yes":
            self.render(
                "admin-credit.html",
                title=f"Book {usd(amount)} USD",
                one=one,
                amount=amount,
                reference=reference,
                after=one.balance + amount,
                reason=typed["reason"],
            )
        else:
            await self._book(one, amount, typed, reference)

    async def _book(
        self, one: AccountRecord, amount: Nano, typed: dict[str, str], reference: str
    ) -> None:
        try:
            done = await credit(
                self.console.database,
                one.id,
                amount,
                reference=reference,
                kind="credit" if amount > 0 else "correction",
                by=self.signature,
                note=typed["reason"],
            )
        except (Overdrawn, Invalid, Conflict) as error:
            self.errors["amount"] = str(error)
            await self.show(one, **typed)
            return
        self.flash(f"{usd(amount)} USD were booked." if done else "This was booked before.")
        self.see_other(f"/admin/accounts/{one.id}")

    def _amount(self, text: str) -> Nano:
        try:
            amount = nano(text.removeprefix("$"))
        except MoneyError as error:
            self.errors["amount"] = f"{error}; write an amount such as 5 or -2.50."
            return 0
        if not 0 < abs(amount) <= MOST:
            self.errors["amount"] = (
                f"Write an amount other than 0, up to {usd(MOST)} USD; "
                "`ezkielyna accounts credit` books larger ones."
            )
        return amount


TOPIC = Topic(
    routes=(
        (r"/admin/accounts", AdminAccounts),
        (r"/admin/accounts/(acc_\w+)", AdminAccount),
        (r"/admin/accounts/(acc_\w+)/status", AdminStatus),
        (r"/admin/accounts/(acc_\w+)/limits", AdminLimits),
        (r"/admin/accounts/(acc_\w+)/credit", AdminCredit),
    ),
    names={"limit_names": WORDS},
)
