"""Headers of a request as they came, made into Tornado's dictionaries only when somebody asks."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPHeaders

_OWN = frozenset({"values_by_name", "repeated"})


class ReceivedHeaders(HTTPHeaders):
    """A head's headers as bytes, by names in lower case, repeated ones joined by commas.

    An API request asks for five headers of a dozen or two: those are decoded, and no others. Pages
    get Tornado's own normalised dictionaries at their first other question. `notes` is for what a
    reader makes of all but the Content-Length, by a name of its own: heads that a connection
    repeats share them.
    """

    def __init__(self, values: dict[bytes, bytes], repeated: dict[bytes, list[bytes]]) -> None:
        self.values_by_name = values
        self.repeated = repeated
        self.notes: dict[Any, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        value = self.values_by_name.get(name.lower().encode())
        return default if value is None else value.decode("latin-1")

    def __getattr__(self, name: str) -> Any:
        # Reached only while the base class lacks what it keeps: build that, once.
        if name.startswith("__") or name in _OWN or "_dict" in self.__dict__:
            raise AttributeError(name)
        HTTPHeaders.__init__(self)
        for header, value in self.values_by_name.items():
            for single in self.repeated.get(header, (value,)):
                self.add(header.decode("latin-1"), single.decode("latin-1"))
        return getattr(self, name)


class RepeatedHeaders(ReceivedHeaders):
    """Headers that came before on their connection, but for the Content-Length."""

    def __init__(self, before: ReceivedHeaders, length: int) -> None:
        self._before = before
        self._length = length
        self.repeated = before.repeated
        self.notes = before.notes

    def __getattr__(self, name: str) -> Any:
        if name != "values_by_name":
            return super().__getattr__(name)
        values = {**self._before.values_by_name, b"content-length": b"%d" % self._length}
        self.values_by_name = values
        return values
