"""Pages of plugins: in the console's frame, behind its log-in, under its policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from tornado.template import Template
from tornado.web import HTTPError

from ezkielyna.console.forgery import FIELD
from ezkielyna.console.handlers import TOPICS
from ezkielyna.console.page import MAX_FORM, AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.console.ui import ICONS
from ezkielyna.contract.context import Account, Route
from ezkielyna.contract.pages import ConsolePage, Visit
from ezkielyna.hooks import PluginRefused, blaming
from ezkielyna.settings.faults import Fault

HOOK = "register_pages"
PATIENCE_S = 10.0
"""How long a plugin may think about a page."""


class PluginPage(AccountPage):
    """One page of a plugin. Who is there, what may be posted and what errors say is ours."""

    page: ClassVar[ConsolePage]
    body: ClassVar[Template]

    async def get(self) -> None:
        """Show it."""
        await self._show(None)

    async def post(self) -> None:
        """Show it with what was posted."""
        if not self.page.posts:
            raise HTTPError(405)
        names = [name for name in self.request.body_arguments if name != FIELD]
        await self._show({name: self.text(name, MAX_FORM) for name in names})

    async def _show(self, form: Mapping[str, str] | None) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        async with asyncio.timeout(PATIENCE_S):
            values = await self.page.values(Visit(self._visitor(), query, form))
        names = self.get_template_namespace()
        names.update(values)
        self.render(
            "plugin.html",
            title=self.page.label,
            markup=self.body.generate(**names),
        )

    def _visitor(self) -> Account:
        found = self.account
        return Account(
            id=found.id,
            email=found.email,
            plan=found.plan,
            suspended=found.status != "active",
            verified=found.verified,
            limits=found.limits,
        )


def with_pages(
    offered: Iterable[tuple[str, ConsolePage]], rules: Sequence[Route]
) -> tuple[Topic, ...]:
    """Return the console's topics and those of plugins' pages, each given with its plugin.

    Raises PluginRefused for a path that is taken, by `rules` of plugins too, for an icon that is
    not there, and for a template that is none.
    """
    taken = [pattern for topic in TOPICS for pattern, _ in topic.routes]
    taken += [rule[0] for rule in rules]
    topics: list[Topic] = []
    for plugin, page in offered:
        fault = _unfit(page, taken)
        if fault:
            raise PluginRefused([Fault(f"plugin {plugin}", HOOK, fault)])
        topics.append(_topic(plugin, page))
        taken.append(page.path)
    return (*TOPICS, *topics)


def _unfit(page: ConsolePage, taken: Iterable[str]) -> str:
    if any(re.fullmatch(pattern.removesuffix("$"), page.path) for pattern in taken):
        return f"path {page.path!r} is taken; give the page another one"
    if page.icon not in ICONS:
        return f"there is no icon {page.icon!r}; icons are {', '.join(ICONS)}"
    return ""


def _topic(plugin: str, page: ConsolePage) -> Topic:
    with blaming(plugin, HOOK):
        template = Template(page.template, name=f"{plugin}{page.path}", whitespace="all")
    handler = type(
        f"{plugin}-page",
        (PluginPage,),
        {"page": page, "body": template, "blamed": plugin},
    )
    return Topic(
        routes=((page.path, handler),), menu=(Entry(page.order, page.label, page.path, page.icon),)
    )
