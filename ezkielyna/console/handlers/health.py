"""Whether the process lives, and whether it can serve: for balancers, not for people."""

from __future__ import annotations

from ezkielyna.console.page import Page
from ezkielyna.console.topic import Topic


class Health(Page):
    """The process is alive. Asks nobody: a database that is away kills no process."""

    async def prepare(self) -> None:
        """Ask no session."""

    def get(self) -> None:
        """Answer 200."""
        self.write({"status": "alive"})


class Ready(Page):
    """The process can serve: 503 while it drains or cannot. What serves degraded is named."""

    async def prepare(self) -> None:
        """Ask no session."""

    def get(self) -> None:
        """Answer 200 or 503 with the reason."""
        obstacle = self.console.obstacle()
        if obstacle is not None:
            self.set_status(503)
        status = "ready" if obstacle is None else obstacle
        self.write({"status": status, "degraded": self.console.degraded()})


TOPIC = Topic(routes=((r"/healthz", Health), (r"/readyz", Ready)))
