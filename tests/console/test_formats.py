"""Money, times and browsers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.console.formats import browser, day, money, when

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (1_499, "$0.000001"),
        (1_500, "$0.000002"),
        (123_456, "$0.000123"),
        (9_999_999, "$0.010000"),
        (10_000_000, "$0.01"),
        (1_234_567_890_000, "$1,234.57"),
        (-5_000_000_000, "\N{MINUS SIGN}$5.00"),
    ],
)
def test_money(amount: int, text: str) -> None:
    assert money(amount) == text


@given(st.integers(-(10**18), 10**18))
def test_money_is_never_off_by_more_than_it_shows(amount: int) -> None:
    text = money(amount).replace("\N{MINUS SIGN}", "-").replace("$", "").replace(",", "")
    off = abs(Decimal(text) - Decimal(amount).scaleb(-9))
    assert off <= (Decimal("0.005") if abs(amount) >= 10_000_000 else Decimal("0.000001"))
    assert (amount == 0) == (Decimal(text) == 0)


def test_times_are_utc_and_for_machines_too() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert when(moment) == '<time datetime="2026-01-02T02:04:05Z">2 Jan 2026, 02:04 UTC</time>'
    assert "2 Jan 2026</time>" in day(moment.astimezone(UTC))
    assert when(None, "<never>") == "&lt;never&gt;"


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        (CHROME, "Chrome on Linux"),
        (f"{CHROME} Safari/537.36 Edg/131.0", "Edge on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl"),
        ("a test", "a test"),
        ("", "unknown"),
    ],
)
def test_browsers(agent: str, text: str) -> None:
    assert browser(agent) == text
