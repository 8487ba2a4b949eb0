"""The rate with servers that limit it, on a clock that jumps: it settles, recovers, starves no request."""

from __future__ import annotations

import asyncio
import copy
import math
import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dregutil.registry.http.throttle import Gate, Throttle
from dregutil.registry.http.transport import MOST_REFUSALS
from virtual import Bucket, Window, run_virtually


@dataclass
class Crawled:
    """The result of a simulated crawl: its seconds, when each refusal came, how often each request was refused."""

    seconds: float = 0.0
    refused: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    most_refused: int = 0
    most_under_way: int = 0


async def crawl(
    server: Bucket | Window,
    number: int,
    *,
    workers: int = 32,
    round_trip: float = 0.004,
    asks: bool = False,
    gate: Gate | None = None,
    seed: int = 0,
) -> Crawled:
    """`number` requests, each repeated until it succeeds; `asks`: the server sends Retry-After, in whole seconds."""
    gate, loop, jitter = gate or Gate(workers), asyncio.get_running_loop(), random.Random(seed)
    waiting, found, under_way, started = iter(range(number)), Crawled(), 0, loop.time()

    async def exchange(refused: int) -> bool:
        nonlocal under_way
        await gate.enter(refused=refused > 0)
        sent_at = loop.time()
        found.sent.append(sent_at)
        under_way += 1
        found.most_under_way = max(found.most_under_way, under_way)
        try:
            await asyncio.sleep(round_trip * jitter.uniform(0.4, 0.6))
            goes = server.lets_through(loop.time())
            wait = math.ceil(server.wait(loop.time()))
            await asyncio.sleep(round_trip * jitter.uniform(0.4, 0.6))
            if goes:
                gate.throttle.succeeded(sent_at, loop.time())
            else:
                found.refused.append(loop.time())
                gate.throttle.pushed_back(sent_at, loop.time(), wait if asks else None)
            return goes
        finally:
            under_way -= 1
            gate.leave()

    async def work() -> None:
        for _ in waiting:
            refused = 0
            while not await exchange(refused):
                refused += 1
            found.most_refused = max(found.most_refused, refused)

    await asyncio.gather(*(work() for _ in range(workers)))
    found.seconds = loop.time() - started
    return found


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("server", [Bucket(200, 200), Bucket(200, 20), Bucket(200, 5), Window(200), Window(20, 0.1)])
def test_it_settles_just_under_the_limit(server: Bucket | Window, asks: bool) -> None:
    found = run_virtually(crawl(copy.copy(server), 10_401, asks=asks))
    assert found.seconds < 1.3 * 52
    assert len(found.refused) < 0.03 * 10_401


def test_without_refusals_nothing_is_delayed() -> None:
    found = run_virtually(crawl(Bucket(1e9, 1e9), 3_200, workers=32, round_trip=0.01))
    assert found.seconds < 3_200 / 32 * 0.012
    assert found.most_under_way == 32


def test_during_a_long_refusal_the_server_is_probed_rarely() -> None:
    found = run_virtually(crawl(Window(100, 60), 250))
    assert len(found.refused) < 100
    gaps = [after - before for before, after in pairwise(found.refused)]
    assert max(gaps) > 5


def test_the_full_rate_returns_when_the_limit_is_lifted() -> None:
    async def work() -> tuple[Crawled, Crawled, Gate]:
        gate = Gate(32)
        slow = await crawl(Window(50), 500, gate=gate)
        await crawl(Bucket(1e9, 1e9), 20_000, gate=gate)
        return slow, await crawl(Bucket(1e9, 1e9), 3_200, gate=gate, round_trip=0.01), gate

    slow, fast, gate = run_virtually(work())
    assert slow.seconds > 8
    assert fast.seconds < slow.seconds / 2
    assert not gate.throttle.is_limited
    assert gate.throttle.limit > 8


def test_refusals_of_requests_already_in_flight_are_ignored() -> None:
    throttle = Throttle(32, jitter=lambda: 0.0)
    throttle.pushed_back(0.0, 0.1)
    once = throttle.limit
    throttle.pushed_back(0.05, 0.11)
    assert (once, throttle.limit) == (16, 16)


@pytest.mark.parametrize("asked", [1.0, 60.0])
def test_nothing_is_sent_before_retry_after_has_passed(asked: float) -> None:
    throttle = Throttle(32, jitter=lambda: 0.0)
    throttle.pushed_back(0.0, 0.1, asked)
    assert throttle.next_send_at(0.2) == 0.1 + asked
    assert throttle.at_once == 1


def test_many_broken_connections_lower_the_concurrency_and_not_the_rate() -> None:
    throttle = Throttle(32)
    for _ in range(4):
        throttle.connection_lost(1.0, 1.1)
    assert (throttle.limit, throttle.is_limited) == (16, False)
    for number in range(2_000):
        throttle.succeeded(2.0 + number / 100, 2.0 + number / 100)
    assert throttle.limit == 32


def test_a_few_broken_connections_among_many_answers_change_nothing() -> None:
    throttle = Throttle(32)
    for number in range(200):
        throttle.succeeded(number / 1000, number / 1000)
        if number % 20 == 0:
            throttle.connection_lost(number / 1000, number / 1000)
    assert throttle.limit == 32


def test_a_server_that_accepts_nothing_is_given_up_after_the_patience() -> None:
    throttle = Throttle(1)
    throttle.pushed_back(0.0, 1.0)
    throttle.pushed_back(50.0, 100.0)
    assert not throttle.is_hopeless(121.0, 120.0)
    assert throttle.is_hopeless(122.0, 120.0)
    throttle.succeeded(101.0, 130.0)
    assert not throttle.is_hopeless(500.0, 120.0)


def test_a_cancelled_request_leaves_its_place_to_others() -> None:
    async def work() -> None:
        gate = Gate(1)
        await gate.enter()
        tasks = [asyncio.create_task(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        gate.leave()  # releases the second, which is cancelled before
        tasks[1].cancel()
        await asyncio.gather(*tasks[:2], return_exceptions=True)
        await tasks[2]

    run_virtually(work())


def test_refused_requests_go_first_and_urgent_ones_next() -> None:
    gone: list[str] = []

    async def go(gate: Gate, name: str) -> None:
        await gate.enter(urgent=name.startswith("urgent"), refused=name.startswith("refused"))
        gone.append(name)
        gate.leave()

    async def work() -> None:
        gate = Gate(1)
        await gate.enter()
        names = ("one", "urgent one", "refused one", "two", "urgent two", "refused two")
        tasks = [asyncio.create_task(go(gate, name)) for name in names]
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*tasks)

    run_virtually(work())
    assert gone == ["refused two", "refused one", "urgent one", "urgent two", "one", "two"]


@pytest.mark.property
@given(
    server=st.one_of(
        st.builds(Bucket, st.floats(0.5, 2000), st.floats(1, 500)),
        st.builds(Window, st.integers(1, 500), st.sampled_from([0.1, 1.0, 10.0])),
    ),
    workers=st.integers(1, 64),
    round_trip=st.floats(0.001, 0.5),
    asks=st.booleans(),
    seed=st.integers(0, 2**32),
)
@example(server=Window(1, 10.0), workers=2, round_trip=0.5, asks=False, seed=0)  # two requests that overtake each other
@example(server=Bucket(0.5, 18.0), workers=7, round_trip=0.25, asks=False, seed=2)  # while each waits for its turn
def test_under_any_limit_all_requests_succeed_in_bounded_time(
    server: Bucket | Window, workers: int, round_trip: float, asks: bool, seed: int
) -> None:
    """No request starves, no more requests are in flight than allowed, and a limit costs a small multiple of its own
    time."""
    number = 300
    limit = server.rate if isinstance(server, Bucket) else server.most / server.seconds
    found = run_virtually(crawl(server, number, workers=workers, round_trip=round_trip, asks=asks, seed=seed))
    assert found.most_under_way <= workers
    assert found.most_refused < MOST_REFUSALS
    assert found.seconds < 8 * number / limit + 8 * number * round_trip / workers + 60


@pytest.mark.property
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["well", "refused", "broke"]),
            st.floats(0, 5),
            st.floats(0, 3),
            st.one_of(st.none(), st.floats(0, 60)),
        ),
        max_size=200,
    )
)
def test_the_limits_stay_valid_after_any_events(
    events: list[tuple[str, float, float, float | None]],
) -> None:
    throttle, now = Throttle(32), 0.0
    for what, passed, took, asked in events:
        now += passed
        sent_at = max(0.0, now - took)
        if what == "well":
            throttle.succeeded(sent_at, now)
        elif what == "refused":
            throttle.pushed_back(sent_at, now, asked)
        else:
            throttle.connection_lost(sent_at, now)
        assert 1 <= throttle.at_once <= throttle.limit <= 32
        assert throttle.rate(now) > 0
        due = throttle.next_send_at(now)
        assert due <= now + 61 + 20 + 2
        throttle.sent(max(now, due))
