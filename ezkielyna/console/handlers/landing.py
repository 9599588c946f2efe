"""What this is, the base URL, a first call, and prices."""

from __future__ import annotations

from ezkielyna.console.page import Page
from ezkielyna.console.topic import Topic

SHOWN_MODELS = 6


class Landing(Page):
    """The first page that a stranger sees."""

    def get(self) -> None:
        """Show the page; who is logged in goes to the overview."""
        if self.account is not None:
            self.see_other(self.console.home)
            return
        models = list(self.console.models.values())
        self.render(
            "landing.html",
            title="Ezkielyna: one address for every model",
            models=models[:SHOWN_MODELS],
            more=len(models) - SHOWN_MODELS,
            status="operational" if self.console.obstacle() is None else "not available",
            scripts=("tabs.js",),
        )


TOPIC = Topic(routes=((r"/", Landing),))
