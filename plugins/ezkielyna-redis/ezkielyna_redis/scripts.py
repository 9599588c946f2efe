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
        self.sha = packed(b"EVALSHA", digest.encode())


class Prepared:
    """A call of a script but for its last arguments: what is the same each time is spelt once.

    `fixed` are the packed keys after their number, the time and the first arguments; `count` is
    how many keys and arguments the call has in all.
    """

    __slots__ = ("_count", "_fixed", "_script", "by_sha")

    def __init__(self, script: Script, fixed: bytes, count: int) -> None:
        self._script = script
        self._fixed = fixed
        self._count = count
        self.by_sha = b"*%d\r\n%b%b" % (count + 3, script.sha, fixed)

    def by_source(self) -> bytes:
        """Return the beginning of a call that brings the source."""
        source = packed(b"EVAL", self._script.source)
        return b"*%d\r\n%b%b" % (self._count + 3, source, self._fixed)


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

SERVER_TIME = packed(b"")
"""The first argument of every script: take the time from the server."""
