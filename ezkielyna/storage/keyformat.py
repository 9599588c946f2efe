"""API keys as text: how they are made, told from garbage, and turned into what is stored.

A key is `ez-`, 40 characters of entropy, and 6 of CRC-32 over all that precedes them, all base62
(digits, capitals, small letters; most significant first). What is stored is an HMAC under a key
derived from the server's secret: who steals the database has neither the keys nor a way to try
guesses.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "ez-"
ENTROPY = 40
CHECKSUM = 6

_SHAPE = re.compile(r"ez-[0-9A-Za-z]{46}", re.ASCII)


def generate() -> str:
    """Return a new key with about 238 bits of entropy."""
    text = PREFIX + random_text(ENTROPY)
    return text + _checksum(text)


def key_from(subkey: bytes, seed: str) -> str:
    """Return the key of a seed: the same each time, and like a new one to who has no subkey.

    Its characters are an HMAC-SHA512 in base62; 274 bits more than they need make them even.
    """
    rest = int.from_bytes(hmac.digest(subkey, seed.encode(), "sha512"))
    digits = ""
    for _ in range(ENTROPY):
        rest, digit = divmod(rest, len(ALPHABET))
        digits += ALPHABET[digit]
    return PREFIX + digits + _checksum(PREFIX + digits)


def well_formed(key: str) -> bool:
    """True when this can be a key: shape and checksum are right. No look-up, no secret."""
    if _SHAPE.fullmatch(key) is None:
        return False
    return _checksum(key[:-CHECKSUM]) == key[-CHECKSUM:]


def hint(key: str) -> str:
    """Return what may be shown of a key for ever: `ez-…` and its last four characters."""
    return f"{PREFIX}…{key[-4:]}"


def fingerprint(subkey: bytes, key: str) -> str:
    """Return what is stored instead of the key: HMAC-SHA256 in hex, under a derived key."""
    return hmac.digest(subkey, key.encode(), "sha256").hex()


def derived(secret: bytes, purpose: str, *, length: int = 32) -> bytes:
    """Return a key for one purpose from the server's secret, by HKDF-SHA256 without salt.

    Purposes cannot be told from one another's keys, nor can the secret.
    """
    return hkdf(secret, b"", b"ezkielyna " + purpose.encode(), length)


def hkdf(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes (at most 8,160) by RFC 5869 with SHA-256."""
    size = hashlib.sha256().digest_size
    assert 0 < length <= 255 * size
    extracted = hmac.digest(salt or bytes(size), material, "sha256")
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
        counter += 1
    return output[:length]


def identifier(prefix: str) -> str:
    """Return a new id such as `acc_…` that nobody can guess and nothing else has."""
    return f"{prefix}_{random_text(20)}"


def random_text(length: int) -> str:
    """Return base62 characters from the system's source of randomness."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM):
        rest, digit = divmod(rest, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
