"""Operators: what is installed, what it offers, and with what settings it runs. Read-only."""

from __future__ import annotations

from functools import partial

from ezkielyna.console.handlers.admin import OperatorPage
from ezkielyna.console.shown import shown
from ezkielyna.console.topic import Topic
from ezkielyna.contract.plugin import CONTRACT_VERSION


class Plugins(OperatorPage):
    """Every plugin that runs, in its order, and the others that are installed."""

    async def get(self) -> None:
        """Show them."""
        office, settings = self.console.office, self.console.settings
        registries = office.registries
        self.render(
            "admin-plugins.html",
            title="Plugins",
            contract=CONTRACT_VERSION,
            running=[one for one in office.installed if one.enabled],
            others=[one for one in office.installed if not one.enabled],
            offers=registries.offers,
            own={
                name: shown(type(own), own, partial(settings.secret, "plugin", name))
                for name, own in registries.settings.items()
            },
            kinds=office.kinds,
        )


TOPIC = Topic(routes=((r"/admin/plugins", Plugins),))
