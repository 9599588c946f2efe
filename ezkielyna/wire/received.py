"""Headers of a request as they came, made into Tornado's dictionaries only when somebody asks."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPHeaders


class ReceivedHeaders(HTTPHeaders):
    """A head's headers as bytes, by names in lower case, repeated ones joined by commas.

    An API request asks for five headers of a dozen or two: those are decoded, and no others. Pages
    get Tornado's own normalised dictionaries at their first other question. `notes` is for what a
    reader makes of all but the Content-Length, by a name of its own: heads that a connection
    repeats share them.
    """

    def __init__(
        self,
        values: dict[bytes, bytes],
        repeated: dict[bytes, list[bytes]],
        notes: dict[Any, Any] | None = None,
    ) -> None:
        self.values_by_name = values
        self.repeated = repeated
        self.notes: dict[Any, Any] = {} if notes is None else notes

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        value = self.values_by_name.get(name.lower().encode())
        return default if value is None else value.decode("latin-1")

    def __getattr__(self, name: str) -> Any:
        # Reached only while the base class lacks what it keeps: build that, once.
        own = self.__dict__
        if name.startswith("__") or "values_by_name" not in own or "_dict" in own:
            raise AttributeError(name)
        HTTPHeaders.__init__(self)
        for header, value in self.values_by_name.items():
            for single in self.repeated.get(header, (value,)):
                self.add(header.decode("latin-1"), single.decode("latin-1"))
        return getattr(self, name)
