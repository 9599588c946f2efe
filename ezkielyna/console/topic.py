"""What a file of handlers adds to the console: routes, and entries of the menu."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tornado.web import RequestHandler

Route = tuple[str, type[RequestHandler]]


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An entry of the menu; entries are sorted by `order`.

    `public` entries are also shown to who is not logged in, `operators` ones only to operators.
    `icon` is a name that `ui.ICONS` has.
    """

    order: int
    label: str = field(compare=False)
    path: str = field(compare=False)
    icon: str = field(compare=False, default="dot")
    public: bool = field(compare=False, default=False)
    operators: bool = field(compare=False, default=False)


@dataclass(frozen=True, slots=True)
class Topic:
    """One subject: its routes, its menu entries, and what its templates need beside the usual."""

    routes: Sequence[Route]
    menu: Sequence[Entry] = ()
    names: Mapping[str, Any] = field(default_factory=dict)
