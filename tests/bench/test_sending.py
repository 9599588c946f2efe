"""What is sent, when it is due, what is made of answers: against upstreams with known timing."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from pathlib import Path
from random import Random
from statistics import mean

import orjson
import pytest
import trustme

from ezkielyna.bench.crew import Crew
from ezkielyna.bench.figures import Figures, figures
from ezkielyna.bench.lengths import length
from ezkielyna.bench.plan import Limits, Load, Target
from ezkielyna.bench.questions import Questions
from ezkielyna.bench.sending import Sender, due_times
from ezkielyna.bench.worker import connections, step, tls
from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chat_stream, chunk, event
from ezkielyna.testing.scripted import ReceivedRequest, Script, ScriptedUpstream, Turn, answering

WAIT_S, GAP_S, TOKENS = 0.08, 0.03, 6
SLOW = 5.0  # a busy machine may take so much longer


async def telling(turn: Turn) -> None:
    """Answer as a model does: a wait, then token by token."""
    first, *rest = chat_stream([f"t{number} " for number in range(TOKENS)])
    await asyncio.sleep(WAIT_S)
    await turn.begin(200, {"content-type": "text/event-stream"})
    await turn.chunk(first)
    for piece in rest:
        await asyncio.sleep(GAP_S)
        await turn.chunk(piece)
    await turn.end()


async def seen(
    load: Load, *scripts: Script, limits: Limits | None = None, **target: object
) -> tuple[Figures, list[ReceivedRequest]]:
    async with ScriptedUpstream(*scripts) as upstream:
        aim = Target(f"{upstream.url}/v1", "m", **{"timeout_s": 30.0, **target})  # type: ignore[arg-type]
        questions = Questions(aim, {"Authorization": "Bearer k"}, "seed")
        found = await step(aim, None, questions, load, time.monotonic(), "seed")
        return figures(load, limits or Limits(), [found]), upstream.requests


def of(requests: int, way: str = "closed", amount: float = 2) -> Load:
    return Load(way, amount, requests=requests, warm_up_s=0)  # type: ignore[arg-type]


async def test_a_stream_is_timed_as_it_came() -> None:
    found, received = await seen(of(6), telling)
    assert (found["requests"], found["errors"], len(received)) == (6, 0, 6)
    # uvloop keeps time in whole milliseconds, so a wait may be one too short.
    assert found["first_byte_ms"]["min"] >= WAIT_S * 1000 - 1
    assert found["first_byte_ms"]["p50"] <= WAIT_S * 1000 * SLOW
    # The first event brings the role and no content: a token comes one gap later.
    assert found["first_token_ms"]["min"] >= (WAIT_S + GAP_S) * 900
    assert GAP_S * 500 <= found["gap_ms"]["p50"] <= GAP_S * 1000 * SLOW
    whole = (WAIT_S + GAP_S * (TOKENS + 3)) * 1000
    assert whole * 0.95 <= found["total_ms"]["min"] <= found["total_ms"]["p50"] <= whole * SLOW
    # Neither the end of the answer nor its usage, which follow the last token, count for tokens.
    assert found["token_ms"]["min"] >= GAP_S * 900
    tokens_ms = found["total_ms"]["max"] - found["first_token_ms"]["min"] - 2 * GAP_S * 1000
    assert found["token_ms"]["max"] <= tokens_ms / (TOKENS - 1)
    assert found["gap_ms"]["count"] == 6 * (TOKENS + 2)  # [DONE] is no chunk, usage is one
    assert found["chunks_s"] * found["seconds"] == pytest.approx(6 * (TOKENS + 3))
    assert found["tokens_s"] * found["seconds"] == pytest.approx(6 * TOKENS)
    assert found["requests_s"] * found["seconds"] == pytest.approx(6)


async def test_tokens_are_counted_where_no_usage_is_reported() -> None:
    async def script(turn: Turn) -> None:
        pieces = [chunk({"role": "assistant", "content": ""})]
        pieces += [chunk({"content": f'say "content":"{number}'}) for number in range(5)]
        whole = b"".join([*pieces, chunk({}, "stop"), b": a comment\n\n", DONE])
        await turn.begin(200, {"content-type": "text/event-stream"})
        for at in range(0, len(whole), 7):  # cut anywhere
            await turn.send(b"%x\r\n%b\r\n" % (len(whole[at : at + 7]), whole[at : at + 7]))
        await turn.end()

    found, received = await seen(of(2, amount=1), script, usage=False)
    assert found["errors"] == 0
    assert found["tokens_s"] * found["seconds"] == pytest.approx(2 * 5)
    assert found["chunks_s"] * found["seconds"] == pytest.approx(2 * 7)
    assert "stream_options" not in orjson.loads(received[0].body)


async def test_plain_answers_and_what_is_asked() -> None:
    found, received = await seen(
        of(4),
        answering(200, JSON, chat_answer(prompt=11, completion=7)),
        streamed=False,
        input_tokens="5-9",
        output_tokens="33",
        fields={"temperature": 0},
    )
    assert found["errors"] == 0
    assert found["tokens_s"] * found["seconds"] == pytest.approx(4 * 7)
    assert found["gap_ms"] == found["first_token_ms"] == found["token_ms"] == {}
    for request in received:
        body = orjson.loads(request.body)
        assert request.target == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer k"
        assert 5 <= len(body.pop("messages")[0]["content"].split()) <= 9
        assert body == {"model": "m", "max_tokens": 33, "temperature": 0}


async def test_other_endpoints_get_their_own_bodies() -> None:
    answer = answering(200, JSON, orjson.dumps({"data": [], "usage": {"prompt_tokens": 3}}))
    _, received = await seen(of(1, amount=1), answer, endpoint="embeddings", prompts=("a b",))
    assert received[0].target == "/v1/embeddings"
    assert orjson.loads(received[0].body) == {"model": "m", "input": "a b"}
    _, received = await seen(of(1, amount=1), telling, endpoint="completions", prompts=("x", "y"))
    assert orjson.loads(received[0].body)["prompt"] == "x"


async def cut(turn: Turn) -> None:
    await turn.begin(200, {"content-type": "text/event-stream"})
    await turn.chunk(chunk({"content": "half"}))
    await turn.end()


async def broken(turn: Turn) -> None:
    await turn.begin(200, {"content-type": "text/event-stream"})
    await turn.chunk(event({"error": {"type": "upstream_error", "message": "ez-secret"}}))
    await turn.end()


REFUSAL = orjson.dumps({"error": {"type": "rate_limited", "message": "ez-secret", "code": 429}})


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (answering(429, JSON, REFUSAL), "429 rate_limited"),
        (answering(500, {}, b"<html>"), "500"),
        (answering(200, JSON, b"no json"), "200 but no JSON"),
        (cut, "the stream ended without [DONE]"),
        (broken, "in the stream: upstream_error"),
        (Turn.cut, "The upstream closed the connection without an answer."),
    ],
)
async def test_whatever_falls_short_is_an_error_of_a_kind(script: Script, said: str) -> None:
    found, _ = await seen(of(3, amount=1), script)
    assert found["error_kinds"] == {said: 3}
    assert (found["requests"], found["errors"], found["error_share"]) == (3, 3, 1.0)
    assert found["requests_s"] == found["good_s"] == 0


async def test_what_is_not_answered_in_time_is_an_error() -> None:
    found, _ = await seen(of(2), Turn.stall, timeout_s=0.2)
    assert found["errors"] == 2
    assert "waiting too long" in next(iter(found["error_kinds"]))


async def test_good_requests_meet_every_limit() -> None:
    turns = itertools.count()

    async def script(turn: Turn) -> None:
        await asyncio.sleep(0.4 if next(turns) % 2 else 0.0)
        await turn.answer(200, JSON, chat_answer())

    load = of(6, amount=1)
    found, _ = await seen(load, script, limits=Limits(total=0.39, first_byte=20), streamed=False)
    assert found["good_share"] <= 0.5
    assert found["good_s"] == pytest.approx(found["requests_s"] * found["good_share"])
    turns = itertools.count()
    lenient, _ = await seen(load, script, limits=Limits(total=60), streamed=False)
    assert lenient["good_share"] == 1.0


async def test_an_open_loop_sends_on_while_nothing_answers() -> None:
    """A closed loop would have sent one request, and measured one wait (coordinated omission)."""
    free = asyncio.Event()
    arrived = itertools.count(1)

    async def script(turn: Turn) -> None:
        if next(arrived) == 20:
            free.set()
        await free.wait()
        await turn.answer(200, JSON, chat_answer())

    load = Load("open", 50, requests=20, warm_up_s=0, arrivals="constant")
    found, received = await seen(load, script, streamed=False)
    assert (found["requests"], found["errors"], len(received)) == (20, 0, 20)
    assert found["first_byte_ms"]["max"] >= 19 / 50 * 1000 * 0.9  # the first waited for the last


async def test_a_late_generator_charges_the_wait() -> None:
    async with ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream:
        target = Target(f"{upstream.url}/v1", "m", streamed=False)
        load = of(1, "open", 1)
        async with connections(target, None) as client:
            sender = Sender(client, Questions(target, {}, "s"), load, time.monotonic() - 9, 30.0)
            sender.send(due=time.monotonic() - 2)
            await sender.answered(30)
        found = figures(load, Limits(), [{**sender.tally.document(), "busy": 0.0}])
    assert found["total_ms"]["min"] >= 2000
    assert found["late_ms"]["min"] >= 2000
    assert any("after they were due" in text for text in found["warnings"])


async def test_too_many_open_requests_are_errors_and_not_sent() -> None:
    load = Load("open", 200, duration_s=0.3, warm_up_s=0, max_open=3, arrivals="constant")
    found, received = await seen(load, Turn.stall, timeout_s=0.5)
    assert len(received) == 3
    assert found["error_kinds"]["not sent: 3 requests are open"] == found["errors"] - 3


async def test_ramp_and_warm_up_are_not_counted() -> None:
    load = Load("closed", 2, duration_s=0.3, warm_up_s=1.5, ramp_s=0.1)  # a busy machine is late
    found, received = await seen(
        load, answering(200, JSON, chat_answer()), streamed=False, input_tokens="1"
    )
    assert 0 < found["requests"] < len(received)
    assert found["seconds"] == 0.3
    assert sum(row["answered"] for row in found["timeline"]) <= found["requests"]


def test_a_seed_makes_arrivals_and_requests_repeatable() -> None:
    load = Load("open", 100, ramp_s=2)

    def first(seed: str, count: int = 2000) -> list[float]:
        return list(itertools.islice(due_times(load, Random(seed)), count))

    assert first("a") == first("a") != first("b")
    times = first("a")
    assert times == sorted(times)
    assert len([at for at in times if at < 2]) == pytest.approx(100, rel=0.3)  # half the rate
    assert len([at for at in times if 2 <= at < 12]) == pytest.approx(1000, rel=0.1)
    gaps = [after - before for before, after in itertools.pairwise(times) if before > 2]
    assert mean(gaps) == pytest.approx(0.01, rel=0.1)
    even = mean((gap - 0.01) ** 2 for gap in gaps) ** 0.5
    assert even == pytest.approx(0.01, rel=0.1)  # deviation and mean of an exponential are equal

    target = Target("http://h/v1", "m", input_tokens="lognormal:50,0.7", output_tokens="10-90")

    def bodies(seed: str) -> list[bytes]:
        questions = Questions(target, {}, seed)
        return [questions.draw().request.body for _ in range(20)]

    assert bodies("a") == bodies("a") != bodies("b")
    assert len(set(bodies("a"))) == 20


def test_parts_of_a_load_add_up() -> None:
    closed, rate = Load("closed", 10, requests=7), Load("open", 10, max_open=100)
    assert [closed.share(index, 3).amount for index in range(3)] == [4, 3, 3]
    assert [closed.share(index, 3).requests for index in range(3)] == [3, 2, 2]
    assert sum(rate.share(index, 4).amount for index in range(4)) == 10
    assert rate.share(0, 4).max_open == 25


@pytest.mark.parametrize(
    ("text", "least", "most", "average"),
    [
        ("64", 64, 64, 64),
        ("50-200", 50, 200, 125),
        ("normal:100,10", 1, 200, 100),
        ("exponential:80", 1, 1_000_000, 80),
        ("lognormal:100,0.1", 1, 1000, 100.5),
    ],
)
def test_lengths_follow_their_distribution(
    text: str, least: int, most: int, average: float
) -> None:
    random = Random(7)
    draws = [length(text)(random) for _ in range(4000)]
    assert least <= min(draws) <= max(draws) <= most
    assert mean(draws) == pytest.approx(average, rel=0.05)


@pytest.mark.parametrize(
    "text",
    ["", "0", "9-3", "normal:5", "normal:0,1", "exponential:5,6", "uniform:1,2", "1e9", "9999999"],
)
def test_other_lengths_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write 64, 50-200"):
        length(text)


async def test_certificates_are_checked_against_the_named_authorities(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    load = of(1, amount=1)
    async with ScriptedUpstream(
        answering(200, JSON, chat_answer()), ssl_context=server
    ) as upstream:

        async def kinds(**more: object) -> dict[str, int]:
            target = Target(f"{upstream.url}/v1", "m", streamed=False, **more)  # type: ignore[arg-type]
            questions = Questions(target, {}, "s")
            seen = await step(target, tls(target), questions, load, time.monotonic(), "s")
            found: dict[str, int] = figures(load, Limits(), [seen])["error_kinds"]
            return found

        assert await kinds(ca_file=str(tmp_path / "ca.pem")) == {}
        assert await kinds(verify=False) == {}
        assert any("certificate" in kind for kind in await kinds())


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_large_result_arrives_whole(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """An unbuffered standard output takes what the pipe holds, and says so in a number."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    load = Load("open", 2500, requests=3000, warm_up_s=0, max_open=1)
    async with (
        ScriptedUpstream(Turn.stall) as upstream,
        Crew(Target(f"{upstream.url}/v1", "m", timeout_s=1.0), {}, "s", 1) as crew,
    ):
        (seen,) = await crew.run(load, lambda *_: None)
    assert len(seen["records"]) > 1000
