"""Passwords: argon2id in a thread, with the parameters that OWASP's cheat sheet gives first.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from ezkielyna.contract.errors import Overloaded
from ezkielyna.storage.errors import Invalid

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST = 8
LONGEST_BYTES = 1_024
MEMORY_KIB = 19 * 1_024
PASSES = 2
LANES = 1
MOST_WAITING = 64
"""Passwords that wait for a thread; beyond it a log-in is refused, as it would be late anyway."""

EASY_GUESSES = 10_000
"""A password that fewer guesses find is refused: NIST SP 800-63B asks for a list of common ones."""

_T = TypeVar("_T")


async def hashed(password: str) -> str:
    """Return the hash to store; raises Invalid for a password that is too short or too long."""
    if len(password) < SHORTEST:
        raise Invalid(f"a password has at least {SHORTEST} characters")
    if len(password.encode()) > LONGEST_BYTES:
        raise Invalid(f"a password has at most {LONGEST_BYTES} bytes")
    return await _threads().run(lambda: _hasher().hash(password))


def weakness(password: str, email: str) -> str | None:
    """Return why an account must not choose this password, None for one that it may.

    Say it before `hashed` is asked; it takes milliseconds.
    """
    if len(password) < SHORTEST:
        return f"Use at least {SHORTEST} characters."
    if len(password.encode()) > LONGEST_BYTES:
        return f"Use at most {LONGEST_BYTES} bytes."
    from zxcvbn import zxcvbn  # loads its lists of common passwords

    # Its time grows fast with the length; what is hard to guess so far stays so.
    found = zxcvbn(password[:64], user_inputs=[email, *re.split(r"\W+", email)])
    if found["guesses"] >= EASY_GUESSES:
        return None
    warning = str(found["feedback"]["warning"] or "This is easy to guess.")
    return f"{warning} Use a longer phrase."


async def matches(stored: str, password: str) -> bool:
    """True when the password is the one that was hashed. Takes as long either way."""
    if len(password.encode()) > LONGEST_BYTES:
        return False
    return await _threads().run(lambda: _verified(stored, password))


def nobodys() -> str:
    """Return a hash that no password has: checking against it takes as long as any check."""
    salt, digest = b64encode(bytes(16)), b64encode(bytes(32))
    parameters = f"m={MEMORY_KIB},t={PASSES},p={LANES}"
    return f"$argon2id$v=19${parameters}${_unpadded(salt)}${_unpadded(digest)}"


def outdated(stored: str) -> bool:
    """True when the hash was made with other parameters; hash again at the next log-in."""
    return _hasher().check_needs_rehash(stored)


class _Threads:
    """The threads that hash, one less than there are cores: log-ins leave room for requests."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "passwords")
        self._waiting = 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run it in a thread; raises Overloaded when too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Overloaded("Too many people log in at once. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


@cache
def _threads() -> _Threads:
    return _Threads()


def _verified(stored: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher, Type  # when the first password is typed

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID)


def _unpadded(encoded: bytes) -> str:
    return encoded.decode().rstrip("=")
