"""The arithmetic in Lua, and its double in Python, against a model; time is the test's."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezkielyna import Plan
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna_redis.counts import DAY, MINUTE, Counts, Quota
from ezkielyna_redis.scripts import ADMIT, CORRECT, HEARTBEAT, HOLD, Script

START = 1_800_000_000_000_000
HOLD_US = 30_000_000
KEYS = ("ezkielyna:{a}:counts", "ezkielyna:{a}:slots")

PLANS = st.builds(
    Plan,
    name=st.just("p"),
    rpm=st.sampled_from([0, 1, 7, 60, 600, 90_000]),
    tpm=st.sampled_from([0, 7, 6000, 1_000_000]),
    tpd=st.sampled_from([0, 10_000, 999_999_999]),
    concurrency=st.sampled_from([0, 1, 3]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 20_000_000)),
        st.tuples(st.just("admit"), st.integers(0, 3000)),
        st.tuples(st.just("admit"), st.sampled_from([0, 10, 6000, 50_000])),
        st.tuples(st.just("close"), st.integers(0, 5000)),
    ),
    max_size=40,
)


class Model:
    """Leaky buckets: what is used flows out evenly; nothing is rounded but costs, up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.interval = -(-MINUTE // plan.rpm) if plan.rpm else 0
        self.burst = max(1, plan.rpm // 6)
        self.used = {"requests": 0, "minute": 0, "day": 0}
        self.running: dict[str, int] = {}

    def wait(self, time: int) -> None:
        for name, used in self.used.items():
            self.used[name] = max(0, used - time)
        self.running = {id_: left - time for id_, left in self.running.items() if left > time}

    def costs(self, tokens: int) -> dict[str, int]:
        costs = {"requests": self.interval}
        for name, limit, period in (
            ("minute", self.plan.tpm, MINUTE),
            ("day", self.plan.tpd, DAY),
        ):
            exact = Fraction(tokens * period, limit) if limit else Fraction(0)
            costs[name] = -(-exact.numerator // exact.denominator)
        return costs

    def admit(self, id_: str, tokens: int) -> bool:
        costs = self.costs(tokens)
        room = {"requests": self.burst * self.interval, "minute": MINUTE, "day": DAY}
        limits = {"requests": self.plan.rpm, "minute": self.plan.tpm, "day": self.plan.tpd}
        for name, used in self.used.items():
            if limits[name] and used > 0 and used + costs[name] > room[name]:
                return False
        if self.plan.concurrency and len(self.running) >= self.plan.concurrency:
            return False
        for name, cost in costs.items():
            self.used[name] += cost
        self.running[id_] = HOLD_US
        return True

    def close(self, id_: str, charged: int, used: int) -> None:
        self.running.pop(id_, None)
        before, after = self.costs(charged), self.costs(used)
        for name in ("minute", "day"):
            self.used[name] = max(0, self.used[name] + after[name] - before[name])


def run(server: RedisServer, script: Script, keys: tuple[str, ...], *arguments: Any) -> Any:
    return server.command("EVAL", script.source, len(keys), *keys, *arguments)


def admitted(server: RedisServer, now: int, quota: Quota, id_: str, tokens: int) -> list[int]:
    reply = run(
        server,
        ADMIT,
        KEYS,
        now,
        id_,
        quota.minute(tokens),
        quota.day(tokens),
        quota.interval,
        quota.burst,
        quota.slots,
        HOLD_US,
    )
    return [int(word) for word in reply.split()]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=PLANS, steps=STEPS)
def test_lua_python_and_the_model_agree(
    redis_server: RedisServer, plan: Plan, steps: list[tuple[str, int]]
) -> None:
    redis_server.command("FLUSHALL")
    quota, model, local = Quota(plan, 1, HOLD_US), Model(plan), Counts("a")
    now, running = START, dict[str, int]()
    for number, (act, amount) in enumerate(steps):
        if act == "wait":
            now += amount
            model.wait(amount)
        elif act == "admit":
            id_ = f"i{number}"
            costs = quota.minute(amount), quota.day(amount)
            mine = not local.wait(now, quota, *costs, len(model.running))[0]
            theirs = admitted(redis_server, now, quota, id_, amount)
            assert model.admit(id_, amount) == mine == bool(theirs[0])
            if mine:
                local.take(now, quota, *costs)
                running[id_] = amount
            assert [max(0, moment - now) for moment in theirs[2:5]] == list(model.used.values())
            assert theirs[5] == (len(model.running) if plan.concurrency else 0)
        elif running:
            id_, charged = running.popitem()
            minute = quota.minute(amount) - quota.minute(charged)
            day = quota.day(amount) - quota.day(charged)
            model.close(id_, charged, amount)
            local.shift(now, quota, minute, day)
            run(redis_server, CORRECT, KEYS, now, 0, 0, minute, day, id_)
        moments = (local.requests, local.minute, local.day)
        assert [max(0, moment - now) for moment in moments] == list(model.used.values())
        for key in redis_server.command("KEYS", "*"):
            assert redis_server.command("PTTL", key) > 0


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=PLANS, tokens=st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_a_retry_passes_after_the_wait_and_not_before(
    redis_server: RedisServer, plan: Plan, tokens: list[int]
) -> None:
    redis_server.command("FLUSHALL")
    quota, counts, now = Quota(plan, 1, HOLD_US), Counts("a"), START
    for number, amount in enumerate(tokens):
        reply = admitted(redis_server, now, quota, f"i{number}", amount)
        if not reply[0]:
            counts.requests, counts.minute, counts.day = reply[2:5]
            wait, limit = counts.wait(now, quota, quota.minute(amount), quota.day(amount), reply[5])
            assert wait > 0
            if not limit.endswith("at once"):
                redis_server.command("DEL", KEYS[1])
                assert not admitted(redis_server, now + wait - 1, quota, "early", amount)[0]
                now += wait
                assert admitted(redis_server, now, quota, "retry", amount)[0]


def test_what_was_owed_counts_from_when_it_was_used(redis_server: RedisServer) -> None:
    quota = Quota(Plan("p", rpm=60), 1, HOLD_US)
    for number in range(10):
        assert admitted(redis_server, START, quota, f"i{number}", 0)[0]
    # Twenty seconds away, in which twenty were admitted: the burst is as used up as before.
    now = START + 20_000_000
    run(redis_server, CORRECT, KEYS, now, 20_000_000, 20_000_000, 0, 0)
    assert not admitted(redis_server, now, quota, "more", 0)[0]
    redis_server.command("FLUSHALL")
    run(redis_server, CORRECT, KEYS, now, 20_000_000, 20_000_000, 0, 0)
    assert [admitted(redis_server, now, quota, f"i{n}", 0)[0] for n in range(11)] == [1] * 10 + [0]


def test_a_clock_that_went_back_locks_nobody_out(redis_server: RedisServer) -> None:
    quota = Quota(Plan("p", rpm=60), 1, HOLD_US)
    assert admitted(redis_server, START + 10**10, quota, "a", 0)[0]
    _, _, requests, *_ = admitted(redis_server, START, quota, "b", 0)
    assert requests - START <= quota.burst + quota.interval
    assert admitted(redis_server, START + quota.interval, quota, "c", 0)[0]


def test_keys_of_a_wrong_type_and_garbage_are_replaced(redis_server: RedisServer) -> None:
    quota = Quota(Plan("p", rpm=600, tpm=6000, concurrency=3), 1, HOLD_US)
    for wrong in (("SET", "x"), ("RPUSH", "x"), ("SADD", "x")):
        for key in (*KEYS, "ezkielyna:{processes}"):
            redis_server.command("DEL", key)
            redis_server.command(wrong[0], key, wrong[1])
        assert admitted(redis_server, START, quota, "a", 10)[0]
        redis_server.command("DEL", *KEYS)
        for key in KEYS:
            redis_server.command(wrong[0], key, wrong[1])
        assert run(redis_server, CORRECT, KEYS, START, 0, 0, 10, 0, "a") == b"OK"
        redis_server.command("DEL", KEYS[1])
        redis_server.command(wrong[0], KEYS[1], wrong[1])
        assert run(redis_server, HOLD, KEYS[1:], START, HOLD_US, "a", "b") == b"OK"
        assert run(redis_server, HEARTBEAT, ("ezkielyna:{processes}",), START, HOLD_US, "p")
    for garbage in ("inf", "nan", "-1e300", "1e300", "seven", ""):
        redis_server.command("DEL", *KEYS)
        redis_server.command("HSET", KEYS[0], "requests", garbage, "minute", garbage)
        assert admitted(redis_server, START, quota, "a", 10)[0], garbage


def test_slots_expire_and_are_held(redis_server: RedisServer) -> None:
    quota = Quota(Plan("p", concurrency=1), 1, HOLD_US)
    assert admitted(redis_server, START, quota, "a", 0)[0]
    assert not admitted(redis_server, START + HOLD_US - 1, quota, "b", 0)[0]
    run(redis_server, HOLD, KEYS[1:], START + 10_000_000, HOLD_US, "a")
    assert not admitted(redis_server, START + HOLD_US, quota, "b", 0)[0]
    assert admitted(redis_server, START + 10_000_000 + HOLD_US, quota, "b", 0)[0]


def test_processes_are_counted_while_they_live(redis_server: RedisServer) -> None:
    def beat(now: int, process: str, hold: int = HOLD_US) -> int:
        reply = run(redis_server, HEARTBEAT, ("ezkielyna:{processes}",), now, hold, process)
        return int(reply.split()[1])

    assert [beat(START, "a"), beat(START, "b"), beat(START, "a")] == [1, 2, 2]
    assert beat(START + HOLD_US - 1, "a") == 2
    assert beat(START + HOLD_US, "a") == 1
    assert beat(START + HOLD_US, "a", 0) == 0
