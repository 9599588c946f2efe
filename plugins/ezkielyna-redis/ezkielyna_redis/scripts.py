"""The Lua scripts, and how a call of one is spelt on the wire (RESP2).

A script is named by its SHA-1 (EVALSHA); a server that does not know it, because it was restarted
or flushed, is sent the source (EVAL), which it then remembers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"


class Script:
    """One script; it takes `now` as its first argument."""

    def __init__(self, name: str) -> None:
        source = "\n".join((_FOLDER / f"{part}.lua").read_text() for part in ("prelude", name))
        self.source = source.encode()
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        self._sha = packed(b"EVALSHA", digest.encode())
        self._eval = packed(b"EVAL", self.source)

    def by_sha(self, count: int) -> bytes:
        """Return the head of a call, before `keyed` keys and arguments, `count` in all."""
        return b"*%d\r\n%b" % (count + 3, self._sha)

    def by_source(self, count: int) -> bytes:
        """Return the head of a call that brings the source."""
        return b"*%d\r\n%b" % (count + 3, self._eval)


def packed(*parts: bytes) -> bytes:
    """Return strings as RESP spells them, without the head that counts them."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def keyed(*keys: bytes) -> bytes:
    """Return packed keys after their number."""
    return packed(b"%d" % len(keys), *keys)


ADMIT = Script("admit")
CORRECT = Script("correct")
OWE = Script("owe")
HOLD = Script("hold")
HEARTBEAT = Script("heartbeat")
SCRIPTS = (ADMIT, CORRECT, OWE, HOLD, HEARTBEAT)

NOTHING = packed(b"0")

SERVER_TIME = packed(b"")
"""The first argument of every script: take the time from the server."""
