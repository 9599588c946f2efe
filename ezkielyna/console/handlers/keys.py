"""API keys: make them, find them, rename and revoke them. A key's text is shown once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode

from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.money import MoneyError, Nano, nano
from ezkielyna.storage.keys import KeyRecord, Order

BY = "console"
PAGE = 25
LONGEST_NAME = 64
MOST_KEYS = 1_000
"""Keys of one account that are not revoked."""

LIFETIMES = {"": "Never", "1": "1 day", "7": "7 days", "30": "30 days", "90": "90 days"} | {
    "365": "1 year"
}
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form for a new key asked for."""

    name: str = ""
    limit: str = ""
    models: tuple[str, ...] = ()
    days: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Which keys are shown; it lives in the address."""

    text: str = ""
    order: Order = "created"
    revoked: bool = False
    number: int = 1

    def link(self, **changes: Any) -> str:
        """Return the address of a view that differs in these."""
        chosen = {
            "q": changes.get("text", self.text),
            "sort": changes.get("order", self.order),
            "revoked": "1" if changes.get("revoked", self.revoked) else "",
            "page": changes.get("number", 1),
        }
        usual = {"sort": "created", "page": 1}
        kept = {name: value for name, value in chosen.items() if value not in ("", usual.get(name))}
        return f"/keys?{urlencode(kept)}" if kept else "/keys"


class Keys(AccountPage):
    """The list of keys, and the dialog that makes one."""

    async def get(self) -> None:
        """Show the list."""
        await self.show()

    async def post(self) -> None:
        """Make a key and show it, with the list that holds it."""
        wish = Wish(
            self.text("name").strip(),
            self.text("limit").strip(),
            tuple(self.get_body_arguments("models")),
            self.text("days"),
        )
        limit, expires_at = await self._checked(wish)
        if self.errors:
            self.set_status(422)
            await self.show(wish=wish)
            return
        record, key = await self.console.keys.create(
            self.account.id,
            name=wish.name,
            models=wish.models,
            expires_at=expires_at,
            limit=limit,
            by=BY,
        )
        await self.show(new=record, key=key)

    async def show(
        self, *, wish: Wish | None = None, new: KeyRecord | None = None, key: str = ""
    ) -> None:
        """Show the list; with what is wrong with a wish, or with a new key."""
        view = self._view()
        records, total = await self.console.keys.page(
            self.account.id,
            text=view.text,
            revoked=view.revoked,
            order=view.order,
            skip=(view.number - 1) * PAGE,
            limit=PAGE,
        )
        self.render(
            "keys.html",
            title="API keys",
            keys=records,
            spent=await self.console.keys.spent(self.account.id, [record.id for record in records]),
            now=datetime.now(UTC),
            total=total,
            pages=max(1, -(-total // PAGE)),
            view=view,
            wish=wish,
            new=new,
            key=key,
            form=self._form(wish or Wish()),
            scripts=("keys.js",),
        )

    def _form(self, wish: Wish) -> dict[str, Any]:
        return {"wish": wish, "lifetimes": LIFETIMES, "models": self._models()}

    def _models(self) -> list[str]:
        plan = self.console.plans.get(self.account.plan)
        names = self.console.models
        return [name for name in names if plan is None or plan.allows(name)]

    def _view(self) -> View:
        order = self.get_query_argument("sort", "")
        number = self.get_query_argument("page", "1")
        return View(
            self.get_query_argument("q", "")[:LONGEST_NAME],
            order if order in ORDERS else "created",
            bool(self.get_query_argument("revoked", "")),
            min(int(number), 10_000) if number.isdecimal() and int(number) else 1,
        )

    async def _checked(self, wish: Wish) -> tuple[Nano | None, datetime | None]:
        """Return limit and end of the wish; what is wrong goes into `errors`."""
        self.check_name(wish.name)
        limit: Nano | None = None
        if wish.limit:
            try:
                limit = nano(wish.limit.lstrip("$"))
            except MoneyError as error:
                self.errors["limit"] = f"{error}."
            else:
                if limit <= 0:
                    self.errors["limit"] = "A limit is more than nothing; leave it out for none."
        if unknown := [name for name in wish.models if name not in self._models()]:
            self.errors["models"] = f"You cannot use {', '.join(unknown)[:200]}."
        if wish.days not in LIFETIMES:
            self.errors["days"] = "Choose how long the key lives."
        _, total = await self.console.keys.page(self.account.id, limit=1)
        if total >= MOST_KEYS:
            self.errors["name"] = f"You have {MOST_KEYS} keys; revoke one first."
        if self.errors or not wish.days:
            return limit, None
        return limit, datetime.now(UTC) + timedelta(days=int(wish.days))

    def check_name(self, name: str) -> None:
        """Note what is wrong with a name."""
        if not name:
            self.errors["name"] = "Give the key a name, such as the program that uses it."
        elif len(name) > LONGEST_NAME or not name.isprintable():
            self.errors["name"] = f"Use at most {LONGEST_NAME} characters that can be printed."


class NewKey(Keys):
    """The form of the dialog as a page, for browsers without scripts."""

    async def get(self) -> None:
        """Show the form."""
        self.render("key-new.html", title="Create key", form=self._form(Wish()))


class RenameKey(Keys):
    """Another name for a key; scripts show the form in the list."""

    async def get(self, key_id: str) -> None:  # type: ignore[override]
        """Show the form."""
        await self._show(key_id)

    async def post(self, key_id: str) -> None:  # type: ignore[override]
        """Rename it."""
        name = self.text("name").strip()
        self.check_name(name)
        if self.errors:
            self.set_status(422)
            await self._show(key_id)
            return
        await self.console.keys.rename(self.account.id, key_id, name, by=BY)
        self.flash(f"The key is called {name} now.")
        self.see_other("/keys")

    async def _show(self, key_id: str) -> None:
        key = await self.console.keys.of(self.account.id, key_id)
        self.render("key-rename.html", title=f"Rename {key.name}", key=key)


class RevokeKey(AccountPage):
    """Ends a key for ever, once its name was typed."""

    async def get(self, key_id: str) -> None:
        """Ask for the name."""
        await self._show(key_id)

    async def post(self, key_id: str) -> None:
        """Revoke it."""
        key = await self.console.keys.of(self.account.id, key_id)
        if self.text("name").strip() != key.name:
            self.errors["name"] = f"Type {key.name} to revoke it."
            self.set_status(422)
            await self._show(key_id)
            return
        await self.console.keys.revoke(key.id, account_id=self.account.id, by=BY)
        self.flash(f"The key {key.name} is revoked. Programs that use it are refused in seconds.")
        self.see_other("/keys")

    async def _show(self, key_id: str) -> None:
        key = await self.console.keys.of(self.account.id, key_id)
        self.render("key-revoke.html", title=f"Revoke {key.name}", key=key)


TOPIC = Topic(
    routes=(
        (r"/keys", Keys),
        (r"/keys/new", NewKey),
        (r"/keys/(key_\w+)/rename", RenameKey),
        (r"/keys/(key_\w+)/revoke", RevokeKey),
    ),
    menu=(Entry(20, "API keys", "/keys", "key"),),
)
