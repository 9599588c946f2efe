"""Passwords: argon2id, bounded, and checked."""

from __future__ import annotations

import pytest

from ezkielyna.storage.errors import Invalid
from ezkielyna.storage.passwords import hashed, matches, outdated


async def test_a_password_matches_its_hash_alone() -> None:
    stored = await hashed("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await matches(stored, "correct horse")
    assert not await matches(stored, "wrong horse")
    assert not await matches(stored, "x" * 2000)
    assert not await matches("no hash", "correct horse")
    assert not outdated(stored)
    assert stored != await hashed("correct horse")


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1025, "ü" * 513])
async def test_too_short_and_too_long_are_refused(password: str) -> None:
    with pytest.raises(Invalid):
        await hashed(password)
