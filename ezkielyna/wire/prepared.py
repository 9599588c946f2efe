"""Headers of an answer that need no further care: lines of text, never looked up by hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tornado.httputil import HTTPHeaders


class PreparedHeaders(HTTPHeaders):
    r"""Whole header lines, each with its `\r\n`; whoever writes them saw to it that a value has
    no line break.

    Tornado's own class normalises and checks every name with regular expressions, which for the
    dozen headers of an answer costs more than the rest of it. `length` is the Content-Length, None
    without one; `closes` says that `Connection: close` is among the lines. Our own listener asks
    for nothing else; Tornado's reads single headers, which are then cut out of the lines.
    """

    def __init__(self, lines: str, *, length: int | None = None, closes: bool = False) -> None:
        # Not the base's: it would build two dictionaries that nothing here reads.
        self.lines = lines
        self.length = length
        self.closes = closes

    def get_all(self) -> Iterator[tuple[str, str]]:
        """Yield every header in order."""
        for line in self.lines.split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            yield name, value

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return str(value)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        mark = f"{name}: "
        if self.lines.startswith(mark):
            start = len(mark)
        elif (before := self.lines.find(f"\n{mark}")) >= 0:
            start = before + 1 + len(mark)
        else:
            return default
        return self.lines[start : self.lines.index("\r", start)]

    def __setitem__(self, name: str, value: str) -> None:
        kept = [f"{own}: {text}\r\n" for own, text in self.get_all() if own != name]
        self.lines = "".join((*kept, f"{name}: {value}\r\n"))

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.get_all())

    def __len__(self) -> int:
        return self.lines.count("\n")
