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

    __slots__ = ("_held", "_is_deflate", "_zlib")

    def __init__(self, *, is_deflate: bool = False) -> None:
        self._is_deflate = is_deflate
        self._zlib: zlib._Decompress | None = None  # until the first two bytes are there
        self._held = b""

    @classmethod
    def named(cls, encoding: str) -> Decoder | None:
        """Return the decoder for a `Content-Encoding`, None where there is nothing to decode.

        Raises UpstreamError for an encoding that we never asked for and cannot read.
        """
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            return None
        if encoding in ("gzip", "x-gzip", "deflate"):
            return cls(is_deflate=encoding == "deflate")
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
        return not self._held if self._zlib is None else self._zlib.eof

    def _decoded(self, data: bytes) -> bytes:
        if self._zlib is None:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return b""
            # Some servers mean raw deflate when they say deflate (RFC 9110, section 8.4.1.2).
            raw = self._is_deflate and not _has_zlib_header(data)
            self._zlib = zlib.decompressobj(_RAW_DEFLATE if raw else _GZIP_OR_ZLIB)
        text = self._more(self._zlib, data)
        while self._zlib.eof and self._zlib.unused_data:
            # gzip allows several members, one after the other.
            rest = self._zlib.unused_data
            self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB)
            text += self._more(self._zlib, rest)
        return text

    @staticmethod
    def _more(zlib_: zlib._Decompress, data: bytes) -> bytes:
        text = zlib_.decompress(data, MOST_AT_ONCE)
        if zlib_.unconsumed_tail:
            raise UpstreamError("The upstream's answer is too large.")
        return text


def _has_zlib_header(data: bytes) -> bool:
    """True for the two bytes that RFC 1950, section 2.2, begins with."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
