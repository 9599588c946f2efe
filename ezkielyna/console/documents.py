"""The documentation: Markdown files of `ezkielyna/docs`, as pages and as they are.

In the files stand the address and the model of `make serve`, so that they read and work in the
repository too; a reader gets the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs"
ADDRESS = "http://127.0.0.1:8080"
MODEL = "sim-gpt"
KEY = "ez-…"
ORDER = (
    "quick-start",
    "authentication",
    "chat-completions",
    "streaming",
    "completions",
    "embeddings",
    "images",
    "models",
    "account",
    "errors",
    "limits",
    "billing",
    "clients",
)


@dataclass(frozen=True, slots=True)
class Document:
    """One page of the documentation; `title` is its heading."""

    name: str
    title: str
    text: str

    def told(self, address: str, model: str, key: str = KEY) -> str:
        """Return the Markdown for a reader: with this address, this model, and this key's start."""
        return self.text.replace(ADDRESS, address).replace(MODEL, model).replace(KEY, key)


@cache
def documents() -> Sequence[Document]:
    """Return every page, in reading order; raises OSError where one is missing."""
    found = []
    for name in ORDER:
        text = (FOLDER / f"{name}.md").read_text()
        found.append(Document(name, text.partition("\n")[0].removeprefix("# "), text))
    return tuple(found)
