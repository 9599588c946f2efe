"""The playground: chat completions from a page, as a program sends them, and billed alike."""

from __future__ import annotations

from collections.abc import Sequence

from tornado.web import HTTPError

from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.context import Model

KEY_NAME = "Playground"


class Playground(AccountPage):
    """The page; what is said in it goes from the browser to the API."""

    def get(self) -> None:
        """Show it."""
        plan = self.console.plans.get(self.account.plan)
        models: Sequence[Model] = [
            model
            for name, model in self.console.models.items()
            if (plan is None or plan.allows(name)) and chats(model)
        ]
        self.render(
            "playground.html",
            title="Playground",
            models=models,
            scripts=("live.js", "tabs.js", "playground.js"),
            styles=("playground.css",),
        )


class PlaygroundKey(AccountPage):
    """Hands the page a key of this session: in the answer to a POST, and nowhere else."""

    async def post(self) -> None:
        """Answer the key and its end as JSON."""
        token = self.get_cookie(self.console.cookies.session) or ""
        key = await self.console.session_keys.of(
            self.account.id, self.session.id, token, name=KEY_NAME
        )
        if await self.console.sessions.find(token) is None:
            # Logged out in another tab meanwhile: the key must not outlive that.
            await self.console.session_keys.end(self.account.id, self.session.id)
            raise HTTPError(403, reason="You are logged out.")
        self.set_header("Cache-Control", "no-store")
        self.write({"key": key.text, "expires_at": key.expires_at.isoformat()})


def chats(model: Model) -> bool:
    """True for a model that answers in text: no images by the piece, and no output for nothing
    from a model whose input costs, which is how embeddings are sold."""
    rates = model.price.rates
    return "images" not in rates and (model.price.output_rate > 0 or model.price.free)


TOPIC = Topic(
    routes=((r"/playground", Playground), (r"/playground/key", PlaygroundKey)),
    menu=(Entry(60, "Playground", "/playground", "play"),),
)
