"""Bodies that an upstream compressed although it was asked not to."""

from __future__ import annotations

import zlib

from ezkielyna.contract.errors import UpstreamError

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
MOST_AT_ONCE = 16 * 1024 * 1024
"""The most bytes that one read may become: a bomb ends here."""


class Decoder:
    """Decompresses gzip and deflate piece by piece."""

    __slots__ = ("_begun", "_zlib")

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False

    @classmethod
    def named(cls, encoding: str) -> Decoder | None:
        """Return the decoder for a `Content-Encoding`, None where there is nothing to decode.

        Raises UpstreamError for an encoding that we never asked for and cannot read.
        """
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            return None
        if encoding in ("gzip", "x-gzip", "deflate"):
            return cls()
        raise UpstreamError("The upstream compressed its answer in a way it was not asked for.")

    def decode(self, data: bytes) -> bytes:
        """Return what these bytes decompress to; raises UpstreamError for broken data."""
        try:
            return self._decoded(data)
        except zlib.error:
            raise UpstreamError("The upstream sent broken compressed data.") from None

    @property
    def complete(self) -> bool:
        """True when the compressed data ended where it should, or never began."""
        return self._zlib.eof or not self._begun

    def _decoded(self, data: bytes) -> bytes:
        text = self._first(data) if not self._begun else self._more(data)
        while self._zlib.eof and self._zlib.unused_data:
            # gzip allows several members, one after the other.
            rest = self._zlib.unused_data
            self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB)
            text += self._more(rest)
        return text

    def _first(self, data: bytes) -> bytes:
        self._begun = bool(data)
        try:
            return self._more(data)
        except zlib.error:
            # Some servers mean raw deflate when they say deflate (RFC 9110, section 8.4.1.2).
            self._zlib = zlib.decompressobj(_RAW_DEFLATE)
            return self._more(data)

    def _more(self, data: bytes) -> bytes:
        text = self._zlib.decompress(data, MOST_AT_ONCE)
        if self._zlib.unconsumed_tail:
            raise UpstreamError("The upstream's answer is too large.")
        return text
