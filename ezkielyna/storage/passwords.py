"""Passwords: argon2id in a thread, with the parameters that OWASP's cheat sheet gives first.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

from __future__ import annotations

import asyncio
from base64 import b64encode

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ezkielyna.storage.errors import Invalid

SHORTEST = 8
LONGEST_BYTES = 1_024
MEMORY_KIB = 19 * 1_024
PASSES = 2
LANES = 1


async def hashed(password: str) -> str:
    """Return the hash to store; raises Invalid for a password that is too short or too long."""
    if len(password) < SHORTEST:
        raise Invalid(f"a password has at least {SHORTEST} characters")
    if len(password.encode()) > LONGEST_BYTES:
        raise Invalid(f"a password has at most {LONGEST_BYTES} bytes")
    return await asyncio.to_thread(_hasher().hash, password)


async def matches(stored: str, password: str) -> bool:
    """True when the password is the one that was hashed. Takes as long either way."""
    if len(password.encode()) > LONGEST_BYTES:
        return False
    try:
        return await asyncio.to_thread(_hasher().verify, stored, password)
    except (VerificationError, InvalidHashError):
        return False


def nobodys() -> str:
    """Return a hash that no password has: checking against it takes as long as any check."""
    salt, digest = b64encode(bytes(16)), b64encode(bytes(32))
    parameters = f"m={MEMORY_KIB},t={PASSES},p={LANES}"
    return f"$argon2id$v=19${parameters}${_unpadded(salt)}${_unpadded(digest)}"


def outdated(stored: str) -> bool:
    """True when the hash was made with other parameters; hash again at the next log-in."""
    return _hasher().check_needs_rehash(stored)


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID)


def _unpadded(encoded: bytes) -> str:
    return encoded.decode().rstrip("=")
