"""Headers of an answer that need no further care: written in order, never looked up by hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tornado.httputil import HTTPHeaders


class PreparedHeaders(HTTPHeaders):
    """Headers as a list of pairs, names in their usual capitals, values without line breaks.

    Tornado's own class normalises and checks every name with regular expressions, which for the
    ten headers of an answer costs more than the rest of it. Both listeners ask only what is here:
    whether a header is there, its value, and all of them.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        # Not the base's: it would build two dictionaries that nothing here reads.
        self.pairs = pairs

    def get_all(self) -> Iterator[tuple[str, str]]:
        """Yield every header in order."""
        return iter(self.pairs)

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __getitem__(self, name: str) -> str:
        return dict(self.pairs)[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        for own, value in self.pairs:
            if own == name:
                return value
        return default

    def __setitem__(self, name: str, value: str) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0] != name]
        self.pairs.append((name, value))

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.pairs])

    def __len__(self) -> int:
        return len(self.pairs)
