"""Pages that plugins add to the console."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ezkielyna.contract.context import Account

PATH = re.compile(r"(/[a-z0-9]+(-[a-z0-9]+)*)+")
RESERVED = frozenset({"api", "v1", "static"})
"""First words of paths that never are pages."""

FIRST, LAST = 11, 99
"""Places in the menu; 10 is the overview, where who logged in begins."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who is logged in looks at a plugin's page.

    `query` has the arguments of the address, and `form` the fields that were posted: None where
    the page is only looked at. Both have the last value of a name, without spaces around it.
    """

    account: Account
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None


async def nothing(_: Visit) -> Mapping[str, Any]:
    """Return no names: the page says the same to everybody."""
    return {}


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page in the console's frame, with an entry in its menu, for who is logged in.

    `label` is the page's heading, its title and the name of its entry; entries are sorted by
    `order`, from 11 to 99. `template` is the text of a Tornado template for what stands below the
    heading; it knows what `values` returns for a visit. `values` may raise GatewayError, which is
    shown with its message. With `posts` the page takes forms; they hold `{% module Csrf() %}`.

    Raises ValueError where that can be no page.
    """

    path: str
    label: str
    template: str
    values: Callable[[Visit], Awaitable[Mapping[str, Any]]] = nothing
    icon: str = "dot"
    order: int = 65
    posts: bool = False

    def __post_init__(self) -> None:
        if PATH.fullmatch(self.path) is None:
            raise ValueError(f"path {self.path!r} must be like /my-page: small letters and digits")
        if self.path.split("/")[1] in RESERVED:
            raise ValueError(
                f"path {self.path!r} must not begin with /{' or /'.join(sorted(RESERVED))}"
            )
        if not self.label.strip():
            raise ValueError(f"the page {self.path} needs a label")
        if not FIRST <= self.order <= LAST:
            raise ValueError(f"order {self.order} of {self.path} must be {FIRST} to {LAST}")
