"""What an operator does is in force in every process within five seconds."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Answer, Lab, Line
from ezkielyna.testing.processes import ezkielyna
from ezkielyna.testing.scripted import ScriptedUpstream, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
LINES = 16
"""Connections: enough that the kernel gives every worker some of them."""

IN_FORCE_S = 5.0


async def command(lab: Lab, *arguments: str) -> float:
    """Run a command and return when it was done."""
    ran = await asyncio.to_thread(ezkielyna, *arguments, "--config", str(lab.config), data=lab.data)
    assert ran.returncode == 0, ran.stderr
    return time.monotonic()


async def ask(lines: list[Line], key: str) -> list[Answer]:
    return [await line.post(key, CHAT) for line in lines]


async def until(
    lines: list[Line], key: str, done_at: float, holds: Callable[[Answer], bool]
) -> list[Answer]:
    """Ask on every connection until all answers are right; never later than promised."""
    while True:
        asked_at = time.monotonic()
        answers = await ask(lines, key)
        if all(map(holds, answers)):
            return answers
        assert asked_at < done_at + IN_FORCE_S, [answer.status for answer in answers]
        await asyncio.sleep(0.1)


async def test_revocation_suspension_expiry_and_credit_reach_every_worker(lab: Lab) -> None:
    ann, bob, poor = [await lab.account(credit) for credit in ("5", "5", "0")]
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        lab.serving(upstream.url, workers=2) as gateway,
    ):
        expires_at = datetime.now(UTC) + timedelta(seconds=3)
        short, _ = await lab.key(ann.account, expires_at)
        lines = [await Line.open(gateway.url) for _ in range(LINES)]
        assert {answer.status for answer in await ask(lines, short)} == {200}
        assert {answer.status for answer in await ask(lines, ann.key)} == {200}
        assert {answer.status for answer in await ask(lines, bob.key)} == {200}
        assert {answer.status for answer in await ask(lines, poor.key)} == {402}

        credited, revoked, suspended = await asyncio.gather(
            command(lab, "accounts", "credit", poor.email, "1", "--reason", "test"),
            command(lab, "keys", "revoke", ann.key_id),
            command(lab, "accounts", "suspend", bob.email),
        )
        for answer in await until(lines, ann.key, revoked, lambda answer: answer.status == 401):
            assert answer.error == "invalid_api_key"
            assert "revoked" in answer.document["error"]["message"]
        for answer in await until(lines, bob.key, suspended, lambda answer: answer.status == 403):
            assert answer.error == "account_suspended"
        await until(lines, poor.key, credited, lambda answer: answer.status == 200)

        done_at = await command(lab, "accounts", "resume", bob.email)
        await until(lines, bob.key, done_at, lambda answer: answer.status == 200)

        assert datetime.now(UTC) > expires_at
        for answer in await ask(lines, short):
            assert (answer.status, answer.error) == (401, "invalid_api_key")
        for line in lines:
            line.writer.close()
    await lab.verify()
