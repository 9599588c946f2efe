"""The arithmetic in Lua, and its double in Python, against a model; time is the test's."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezkielyna import Limits, Standing
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna_redis.counts import (
    DAY,
    DAY_SLOT,
    MINUTE,
    MINUTE_SLOT,
    Counts,
    Debt,
    Quota,
    learn,
    standing_of,
)
from ezkielyna_redis.scripts import ADMIT, CORRECT, HEARTBEAT, HOLD, OWE, Script, packed

START = 1_800_000_000_000_000
HOLD_US = 30_000_000
SCOPES = ("a", "key_1")
KEYS = tuple(name.decode() for name in Counts("a", "a").names)

LIMITS = st.builds(
    Limits,
    rpm=st.sampled_from([0, 1, 7, 60, 600, 90_000]),
    tpm=st.sampled_from([0, 7, 6000, 1_000_000]),
    tpd=st.sampled_from([0, 10_000, 999_999_999]),
    concurrency=st.sampled_from([0, 1, 3]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 20_000_000)),
        st.tuples(st.just("wait"), st.integers(0, DAY)),
        st.tuples(st.just("admit"), st.integers(0, 3000)),
        st.tuples(st.just("admit"), st.sampled_from([0, 10, 6000, 50_000])),
        st.tuples(st.just("close"), st.integers(0, 5000)),
    ),
    max_size=40,
)
QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Model:
    """One scope: a list of what was used and when, and nothing clever."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.interval = -(-MINUTE // limits.rpm) if limits.rpm else 0
        self.burst = (max(1, limits.rpm // 6) - 1) * self.interval
        self.arrival = START
        self.uses: list[list[int]] = []  # time and tokens
        self.running: dict[str, int] = {}

    def used(self, now: int, period: int) -> int:
        slot = period // 60
        return sum(tokens for at, tokens in self.uses if at // slot >= now // slot - 60)

    def has_room(self, now: int, tokens: int) -> bool:
        limits = self.limits
        self.running = {id_: until for id_, until in self.running.items() if until > now}
        if self.interval and self.arrival - now > self.burst:
            return False
        for limit, period in ((limits.tpm, MINUTE), (limits.tpd, DAY)):
            used = self.used(now, period)
            if limit and used and used + tokens > limit:
                return False
        return not limits.concurrency or len(self.running) < limits.concurrency

    def take(self, now: int, id_: str, tokens: int) -> list[int]:
        self.arrival = max(self.arrival, now) + self.interval
        self.running[id_] = now + HOLD_US
        self.uses.append([now, tokens])
        return self.uses[-1]

    def close(self, now: int, id_: str, use: list[int], more: int) -> None:
        self.running.pop(id_, None)
        if more > 0:
            self.uses.append([now, more])
        else:
            use[1] += more

    def told(self, now: int) -> list[int]:
        limits = self.limits
        return [
            max(0, self.arrival - now) if self.interval else 0,
            self.used(now, MINUTE) if limits.tpm else 0,
            self.used(now, DAY) if limits.tpd else 0,
        ]


class Reply(NamedTuple):
    granted: int
    now: int
    wait: int
    limit: int
    told: list[list[int]]


def run(server: RedisServer, script: Script, keys: Sequence[str], *arguments: Any) -> Any:
    return server.command("EVAL", script.source, len(keys), *keys, *arguments)


def admitted(
    server: RedisServer, now: int, quotas: Sequence[Quota], id_: str, tokens: int
) -> Reply:
    names = [name.decode() for scope in SCOPES[: len(quotas)] for name in Counts("a", scope).names]
    numbers = [
        number
        for quota in quotas
        for number in (
            quota.interval,
            quota.burst,
            quota.limits.tpm,
            quota.limits.tpd,
            quota.slots,
        )
    ]
    reply = run(server, ADMIT, names, now, HOLD_US, *numbers, id_, tokens)
    granted, at, wait, limit, *told = struct.unpack(f"<{len(reply) // 8}q", reply)
    return Reply(granted, at, wait, limit, [told[at : at + 6] for at in range(0, len(told), 6)])


def corrected(
    server: RedisServer, now: int, quotas: Sequence[Quota], id_: str, at: int, more: int
) -> None:
    names = [name.decode() for scope in SCOPES[: len(quotas)] for name in Counts("a", scope).names]
    windows = [quota.windows for quota in quotas]
    assert run(server, CORRECT, names, now, *windows, id_, at, more) == b"OK"


@QUICK
@given(limits=st.lists(LIMITS, min_size=1, max_size=2), steps=STEPS)
def test_lua_python_and_the_model_agree(
    redis_server: RedisServer, limits: list[Limits], steps: list[tuple[str, int]]
) -> None:
    redis_server.command("FLUSHALL")
    quotas = [Quota(one, 1) for one in limits]
    models = [Model(one) for one in limits]
    now, running = START, list[tuple[str, int, int, list[list[int]]]]()
    still: dict[str, Standing] = {}
    for number, (act, amount) in enumerate(steps):
        if act == "wait":
            now += amount
            still.clear()
        elif act == "admit":
            id_ = f"i{number}"
            room = not [model for model in models if not model.has_room(now, amount)]
            reply = admitted(redis_server, now, quotas, id_, amount)
            assert bool(reply.granted) == room
            assert (reply.wait > 0) is not room
            if room:
                uses = [model.take(now, id_, amount) for model in models]
                running.append((id_, now, amount, uses))
            for scope, quota, model, told in zip(SCOPES, quotas, models, reply.told, strict=False):
                ahead, minute, day = model.told(now)
                assert [max(0, told[0] - now), told[1], told[3]] == [ahead, minute, day]
                assert told[5] == (len(model.running) if quota.slots else 0)
                counts = Counts("a", scope)
                learn([(counts, quota)], now, 0, told)
                mine = counts.wait(now, quota, amount, quota.slots)
                if not room and reply.limit // 4 == SCOPES.index(scope) and reply.limit % 4 != 3:
                    assert mine[0] >= reply.wait, "what is known here is never too hopeful"
                left = standing_of([(counts, quota)], now)
                used = model.limits.tpm - minute if model.limits.tpm else None
                assert left.remaining_tokens == (None if used is None else max(0, used))
                before = still.setdefault(scope, left)
                assert (left.remaining_tokens or 0) <= (before.remaining_tokens or 0)
                assert (left.remaining_requests or 0) <= (before.remaining_requests or 0)
                still[scope] = left
        elif running:
            still.clear()
            id_, at, charged, uses = running.pop()
            for model, use in zip(models, uses, strict=True):
                model.close(now, id_, use, amount - charged)
            corrected(redis_server, now, quotas, id_, at, amount - charged)
        for key in redis_server.command("KEYS", "*"):
            assert redis_server.command("PTTL", key) > 0


@QUICK
@given(limits=LIMITS, steps=STEPS)
def test_what_is_admitted_without_redis_is_what_redis_would(
    limits: Limits, steps: list[tuple[str, int]]
) -> None:
    quota, model, counts, now = Quota(limits, 1), Model(limits), Counts("a", "a"), START
    for number, (act, amount) in enumerate(steps):
        if act == "wait":
            now += amount
        elif act == "admit":
            room = model.has_room(now, amount)
            slots = quota.slots - len(model.running)
            assert (counts.wait(now, quota, amount, slots)[0] == 0) is room
            if room:
                counts.take(now, quota, amount)
                model.take(now, f"i{number}", amount)


@QUICK
@given(limits=LIMITS, tokens=st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_a_retry_passes_after_the_wait_and_not_before(
    redis_server: RedisServer, limits: Limits, tokens: list[int]
) -> None:
    redis_server.command("FLUSHALL")
    quotas, now = [Quota(limits, 1)], START
    for number, amount in enumerate(tokens):
        reply = admitted(redis_server, now, quotas, f"i{number}", amount)
        if not reply.granted and reply.limit != 3:
            redis_server.command("DEL", KEYS[1])
            early = admitted(redis_server, now + reply.wait - 1, quotas, "early", amount)
            assert not early.granted
            now += reply.wait
            assert admitted(redis_server, now, quotas, "retry", amount).granted


def test_requests_that_were_owed_count_from_when_they_ran(redis_server: RedisServer) -> None:
    quotas = [Quota(Limits(rpm=60), 1)]
    for number in range(10):
        assert admitted(redis_server, START, quotas, f"i{number}", 0).granted
    # Twenty seconds away, in which twenty were admitted: the burst is as used up as before.
    now = START + 20_000_000
    debt = Debt(START)
    debt.requests = 20_000_000
    owe(redis_server, now, debt)
    assert not admitted(redis_server, now, quotas, "more", 0).granted
    redis_server.command("FLUSHALL")
    owe(redis_server, now, debt)
    granted = [admitted(redis_server, now, quotas, f"i{n}", 0).granted for n in range(11)]
    assert granted == [1] * 10 + [0]


def owe(server: RedisServer, now: int, debt: Debt) -> None:
    """Tell a debt as the limiter does; its packed arguments are lengths and strings by turns."""
    _, arguments = debt.arguments(now)
    assert run(server, OWE, KEYS, now, *arguments.split(b"\r\n")[1::2]) == b"OK"


def test_tokens_that_were_owed_count_where_they_were_used(redis_server: RedisServer) -> None:
    quotas = [Quota(Limits(tpm=1000, tpd=5000, concurrency=2), 1)]
    assert admitted(redis_server, START, quotas, "a", 400).granted
    debt = Debt(START)
    debt.add(START, -300, -300)  # "a" used less
    debt.add(START + 10 * MINUTE_SLOT, 500, 500)
    debt.add(START + 20 * MINUTE_SLOT, 200, 200)
    debt.add(START + 20 * MINUTE_SLOT, -50, -50)
    debt.gone.append(packed(b"a"))
    now = START + 30 * MINUTE_SLOT
    owe(redis_server, now, debt)
    reply = admitted(redis_server, now, quotas, "b", 250)
    assert reply.granted
    assert reply.told[0][1:5] == [1000, now // MINUTE_SLOT, 1000, now // DAY_SLOT]
    reply = admitted(redis_server, now, quotas, "c", 100)
    assert reply.wait == START + 61 * MINUTE_SLOT - now, "the first hundred go first"


def test_a_clock_that_went_back_locks_nobody_out(redis_server: RedisServer) -> None:
    quota = Quota(Limits(rpm=60, tpm=1000, tpd=10_000), 1)
    assert admitted(redis_server, START + 10**10, [quota], "a", 900).granted
    reply = admitted(redis_server, START, [quota], "b", 900)
    [[requests, minute, at, day, *_]] = reply.told
    assert not reply.granted
    assert requests - START <= quota.burst + quota.interval
    assert (minute, at, day) == (900, START // MINUTE_SLOT, 900)
    assert admitted(redis_server, START + 61 * MINUTE_SLOT, [quota], "c", 900).granted


def test_keys_of_a_wrong_type_and_garbage_are_replaced(redis_server: RedisServer) -> None:
    quotas = [Quota(Limits(rpm=600, tpm=6000, concurrency=3), 1)]
    for wrong in (("SET", "x"), ("RPUSH", "x"), ("SADD", "x")):
        for key in (*KEYS, "ezkielyna:{processes}"):
            redis_server.command("DEL", key)
            redis_server.command(wrong[0], key, wrong[1])
        assert admitted(redis_server, START, quotas, "a", 10).granted
        redis_server.command("DEL", *KEYS)
        for key in KEYS:
            redis_server.command(wrong[0], key, wrong[1])
        corrected(redis_server, START, quotas, "a", START, 10)
        redis_server.command("DEL", KEYS[1])
        redis_server.command(wrong[0], KEYS[1], wrong[1])
        assert run(redis_server, HOLD, KEYS[1:], START, HOLD_US, "a", "b") == b"OK"
        assert run(redis_server, HEARTBEAT, ("ezkielyna:{processes}",), START, HOLD_US, "p")
    good = redis_server.command("EVAL", "return cmsgpack.pack({1, {2, 3}, {}})", 0)
    for garbage in (
        b"",
        b"inf",
        good[:-1],
        good + b"x",
        redis_server.command("EVAL", "return cmsgpack.pack({0/0, 1/0, {-1, 'x', {}}})", 0),
        redis_server.command(
            "EVAL", "return cmsgpack.pack({-5, {'a', 'b', 3}, {1e300, 1e300}})", 0
        ),
        redis_server.command("EVAL", "return cmsgpack.pack('seven')", 0),
    ):
        redis_server.command("DEL", *KEYS)
        redis_server.command("SET", KEYS[0], garbage)
        assert admitted(redis_server, START, quotas, "a", 10).granted, garbage


def test_slots_expire_and_are_held(redis_server: RedisServer) -> None:
    quotas = [Quota(Limits(concurrency=1), 1)]
    assert admitted(redis_server, START, quotas, "a", 0).granted
    assert not admitted(redis_server, START + HOLD_US - 1, quotas, "b", 0).granted
    run(redis_server, HOLD, KEYS[1:], START + 10_000_000, HOLD_US, "a")
    assert not admitted(redis_server, START + HOLD_US, quotas, "b", 0).granted
    assert admitted(redis_server, START + 10_000_000 + HOLD_US, quotas, "b", 0).granted


def test_processes_are_counted_while_they_live(redis_server: RedisServer) -> None:
    def beat(now: int, process: str, hold: int = HOLD_US) -> int:
        reply = run(redis_server, HEARTBEAT, ("ezkielyna:{processes}",), now, hold, process)
        return int(reply.split()[1])

    assert [beat(START, "a"), beat(START, "b"), beat(START, "a")] == [1, 2, 2]
    assert beat(START + HOLD_US - 1, "a") == 2
    assert beat(START + HOLD_US, "a") == 1
    assert beat(START + HOLD_US, "a", 0) == 0
