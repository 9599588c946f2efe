"""Documents put together from values at paths."""

from __future__ import annotations

from typing import Any

import pytest

from ezkielyna.dialect import put


def made(*pieces: tuple[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for path, value in pieces:
        put(document, path, value)
    return document


def test_values_stand_where_their_paths_say() -> None:
    pieces = [("$.a[0].b", 1), ("$.a[0].c", True), ("$.a[1]", None), ("$['x.y']", 0.5)]
    assert made(*pieces) == {"a": [{"b": 1, "c": True}, None], "x.y": 0.5}


def test_text_goes_on_and_other_values_are_replaced() -> None:
    assert made(("$.a", "Bos"), ("$.a", "ton"), ("$.a", ""), ("$.n", 1), ("$.n", 2)) == {
        "a": "Boston",
        "n": 2,
    }


@pytest.mark.parametrize(
    "path", ["", "$", "a", "$.a b[", "$.a[2]", "$.a[99999999]", "$..a", "$" + ".a" * 65]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no "):
        made((path, 1))
