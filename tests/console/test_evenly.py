"""Answers take equally long, whether they found something, nothing, or failed."""

from __future__ import annotations

import asyncio
import time

import pytest

from ezkielyna.console.evenly import evenly


async def test_a_quick_answer_is_held_back() -> None:
    began = time.monotonic()
    async with evenly(0.2):
        pass
    assert time.monotonic() - began >= 0.199


async def test_a_failure_is_held_back() -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        async with evenly(0.2):
            raise ValueError("no")
    assert time.monotonic() - began >= 0.199


async def test_a_slow_answer_is_not_made_slower() -> None:
    async with asyncio.timeout(30):
        began = time.monotonic()
        async with evenly(0.01):
            await asyncio.sleep(0.05)
            worked = time.monotonic() - began
        assert time.monotonic() - began < worked + 5
