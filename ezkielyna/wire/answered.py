"""Headers of an upstream's answer, decoded only where somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class AnswerHeaders(Mapping[str, str]):
    """Headers by names in lower case, the values of a repeated one joined by ", ".

    Providers send two dozen of them, of which the gateway reads four.
    """

    __slots__ = ("values_by_name",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, bytes] = {}
        for name, value in pairs:
            key = name.lower()
            text = value.rstrip(b" \t")  # llhttp strips the left side only
            values[key] = b"%b, %b" % (values[key], text) if key in values else text
        self.values_by_name = values

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        value = self.values_by_name.get(name.encode("latin-1", "replace"))
        return default if value is None else value.decode("latin-1")

    def without(self, *names: bytes) -> AnswerHeaders:
        """Return the headers but for these."""
        return AnswerHeaders([pair for pair in self.values_by_name.items() if pair[0] not in names])

    def __getitem__(self, name: str) -> str:
        return self.values_by_name[name.encode("latin-1", "replace")].decode("latin-1")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.encode("latin-1", "replace") in self.values_by_name

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)
