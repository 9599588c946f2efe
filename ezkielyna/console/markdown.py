"""Markdown → HTML, for the pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from tornado.escape import xhtml_escape

LANGUAGES = {"sh": "shell", "python": "Python", "js": "JavaScript", "json": "JSON"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A section of a page: where it is, and what it is called."""

    anchor: str
    title: str


def rendered(markdown: str) -> tuple[str, list[Heading]]:
    """Return a page's HTML, and its sections. Raw HTML in the Markdown is shown, not obeyed."""
    reader = MarkdownIt("js-default", renderer_cls=_Renderer)
    headings: list[Heading] = []
    tokens = reader.parse(markdown)
    for position, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            title = tokens[position + 1].content.replace("`", "")
            headings.append(Heading(anchor(title), title))
            token.attrSet("id", headings[-1].anchor)
    html: str = reader.renderer.render(tokens, reader.options, {})
    return html, headings


def anchor(title: str) -> str:
    """Return the id of a heading: `whose-count-counts`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class _Renderer(RendererHTML):
    """Code with a button that copies it; tables that scroll by themselves."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Return a block of code; the button's script finds the code by its id."""
        token = tokens[idx]
        identity = f"code-{idx}"
        language = LANGUAGES.get(token.info.strip(), "")
        name = f" the {language} example" if language else ""
        return (
            f'<div class="code"><pre tabindex="0"><code id="{identity}">'
            f"{xhtml_escape(token.content.rstrip())}</code></pre>"
            f'<button class="copy quiet small" type="button" hidden data-copy="{identity}" '
            f'aria-label="Copy{name}"><span>Copy</span></button></div>\n'
        )

    def table_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        """Return the start of a table in a box that scrolls."""
        return '<div class="scroll" tabindex="0"><table>\n'

    def table_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        """Return the end of a table and its box."""
        return "</table></div>\n"
