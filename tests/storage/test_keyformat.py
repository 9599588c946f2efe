"""The text of keys: shape, checksum, and what is stored of them."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezkielyna.storage.keyformat import (
    ALPHABET,
    derived,
    fingerprint,
    generate,
    hint,
    hkdf,
    identifier,
    well_formed,
)


def test_a_key_has_the_published_shape() -> None:
    key = generate()
    assert key.startswith("ez-")
    assert len(key) == 49
    assert set(key[3:]) <= set(ALPHABET)
    number = 0
    for character in key[-6:]:
        number = number * 62 + ALPHABET.index(character)
    assert number == zlib.crc32(key[:-6].encode())
    assert well_formed(key)


def test_keys_differ() -> None:
    assert len({generate() for _ in range(1000)}) == 1000


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 48), st.characters())
def test_one_wrong_character_is_garbage(position: int, character: str) -> None:
    key = generate()
    changed = key[:position] + character + key[position + 1 :]
    assert well_formed(changed) == (changed == key)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert not well_formed(text)
    assert not well_formed("ez-" + text)


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda k: k + "\n", lambda k: " " + k])
def test_a_key_must_be_exact(change: object) -> None:
    key = "ez-" + "aB" * 20
    assert callable(change)
    assert not well_formed(change(key + "000000"))
    assert not well_formed(generate() + "\n")


def test_a_hint_does_not_tell_the_key() -> None:
    key = generate()
    assert hint(key) == f"ez-…{key[-4:]}"


def test_ids_say_what_they_are() -> None:
    assert identifier("acc").startswith("acc_")
    assert identifier("acc") != identifier("acc")


# RFC 5869 appendix A, test cases 1, 2 and 3.
@pytest.mark.parametrize(
    ("material", "salt", "info", "length", "expected"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
            "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf_agrees_with_the_rfc(
    material: str, salt: str, info: str, length: int, expected: str
) -> None:
    output = hkdf(bytes.fromhex(material), bytes.fromhex(salt), bytes.fromhex(info), length)
    assert output.hex() == expected


def test_purposes_and_secrets_give_different_fingerprints() -> None:
    key = generate()
    prints = {
        fingerprint(derived(secret, purpose), key)
        for secret in (b"one", b"two")
        for purpose in ("api-key", "session")
    }
    assert len(prints) == 4
    assert all(len(found) == 64 for found in prints)
