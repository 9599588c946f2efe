"""The documentation: pages, the same as Markdown, and what programs read."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

import orjson
from tornado.web import HTTPError

from ezkielyna.console.documents import KEY, Document, documents
from ezkielyna.console.openapi import description
from ezkielyna.console.page import Page
from ezkielyna.console.topic import Entry, Topic


class _Docs(Page):
    """What all of it has in common: which page is asked for, and what its reader is told."""

    def document(self, name: str) -> Document:
        """Return a page; raises 404."""
        for document in documents():
            if document.name == name:
                return document
        raise HTTPError(404)

    async def told(self, document: Document) -> str:
        """Return the Markdown with the reader's address, a model there is, and their own key."""
        models = [model.name for model in self.console.models.values() if model.price.output_rate]
        return document.told(self.console.address, next(iter(models), "a-model"), await self._key())

    async def _key(self) -> str:
        if self.account is None:
            return KEY
        now = datetime.now(UTC)
        keys = await self.console.keys.list(self.account.id)
        return next((key.hint for key in keys if key.state(now) == "active"), KEY)


class DocsPage(_Docs):
    """One page, with the way to the others."""

    async def get(self, name: str = "") -> None:
        """Show it; the first one where none is named."""
        from ezkielyna.console.markdown import rendered  # a parser of sixty modules

        pages = documents()
        document = self.document(name) if name else pages[0]
        html, headings = rendered(await self.told(document))
        position = pages.index(document)
        self.render(
            "docs.html",
            title=f"{document.title} · Documentation",
            document=document,
            documents=pages,
            html=html,
            headings=headings,
            before=pages[position - 1] if position else None,
            after=pages[position + 1] if position + 1 < len(pages) else None,
            styles=("docs.css",),
        )


class DocsMarkdown(_Docs):
    """One page as Markdown."""

    async def get(self, name: str) -> None:
        """Answer the text."""
        text = await self.told(self.document(name))
        self.set_header("Content-Type", "text/markdown; charset=utf-8")
        self.set_header("Cache-Control", "no-cache" if self.account is None else "no-store")
        self.write(text)


class ForModels(_Docs):
    """`/llms.txt`: the documentation for language models, as https://llmstxt.org proposes."""

    def get(self) -> None:
        """Answer what this is and where its pages are."""
        address = self.console.address
        lines = [
            "# Ezkielyna",
            "",
            "> An OpenAI-compatible gateway to many language models: one base URL "
            f"({address}/api/v1), one key, one prepaid balance.",
            "",
            "## Docs",
            "",
            *(f"- [{page.title}]({address}/docs/{page.name}.md)" for page in documents()),
            "",
            "## API",
            "",
            f"- [OpenAPI description]({address}/openapi.json)",
            "",
        ]
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write("\n".join(lines))


class OpenApi(Page):
    """`/openapi.json`: the API's description for programs; any origin may read it."""

    def get(self) -> None:
        """Answer the document."""
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Content-Type", "application/json")
        self.write(orjson.dumps(description(self.console.address, version("ezkielyna"))))


TOPIC = Topic(
    routes=(
        (r"/docs", DocsPage),
        (r"/docs/([a-z-]+)", DocsPage),
        (r"/docs/([a-z-]+)\.md", DocsMarkdown),
        (r"/llms\.txt", ForModels),
        (r"/openapi\.json", OpenApi),
    ),
    menu=(Entry(80, "Documentation", "/docs", "book", public=True),),
)
