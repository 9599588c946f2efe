"""Log in and log out."""

from __future__ import annotations

from ezkielyna.console.page import AccountPage, Page
from ezkielyna.console.topic import Topic
from ezkielyna.contract.errors import RateLimited

WRONG = "The e-mail address or the password is not right."


class Login(Page):
    """Begins a session, and returns to the page that was asked for."""

    def get(self) -> None:
        """Show the form."""
        if self.account is not None:
            self.see_other(self.next_path or self.console.home)
            return
        self._show()

    async def post(self) -> None:
        """Check the password; the answer says as much about a stranger as about a customer."""
        email, password = self.text("email"), self.text("password")
        try:
            attempt = self.console.sign_ins.begin(self.client, email)
        except RateLimited as limited:
            self.wait(limited, "password")
            self._show(email, status=429)
            return
        holder = await self.console.credentials.check(email, password)
        if holder is None:
            self.errors["password"] = WRONG
            self._show(email, status=422)
            return
        attempt.succeeded()
        await self.begin_session(holder.account)
        self.see_other(self.next_path or self.console.home)

    def _show(self, email: str = "", status: int = 200) -> None:
        self.set_status(status)
        self.render("login.html", title="Log in", email=email, next_path=self.next_path)


class Logout(AccountPage):
    """Ends the session."""

    def get(self) -> None:
        """Ask: a link from elsewhere must not log anybody out."""
        self.render("logout.html", title="Log out")

    async def post(self) -> None:
        """End it, here and on the server."""
        await self.console.sessions.end(self.account.id, self.session.id)
        self.clear_cookie(self.console.cookies.session, **self.console.cookies.attributes())
        self.flash("You are logged out.")
        self.see_other("/login")


TOPIC = Topic(routes=((r"/login", Login), (r"/logout", Logout)))
