"""A machine sleeps in the middle of a run, and others push meanwhile: when it wakes, it looks again before it deletes.

The tests set the clock that goes on while a machine sleeps. That of Python and of its timers stands still, as on Linux.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dregutil
from dregutil import clock
from dregutil.apply import repository
from dregutil.apply.intents import Intents
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from dregutil.select.selection import MatchRules
from images import IMAGE, Pusher
from removing import Removing, results
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches

HOUR = 3600.0
Sleep = Callable[[], None]


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Sleeps an hour."""
    real, slept = clock._clock, 0.0
    monkeypatch.setattr(clock, "_clock", lambda: real() + slept)

    def sleep() -> None:
        nonlocal slept
        slept += HOUR

    return sleep


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


class Doomed:
    """An image whose tag `1.0` is to go, and that somebody gives the tag `stable` while the machine sleeps."""

    def __init__(self, pusher: Pusher, sleep: Sleep) -> None:
        pusher.push_image("r", "stays", seed="stays")
        self.digest = pusher.push_image("r", "1.0", seed="doomed")["digest"]
        self._raw = pusher.raw("r", "1.0")
        self._pusher = pusher
        self._sleep = sleep
        self.has_slept = False

    def sleep(self) -> None:
        """Once."""
        if not self.has_slept:
            self.has_slept = True
            self._pusher.push_manifest("r", "stable", self._raw, IMAGE)
            self._sleep()

    def check(self, proxy: Proxy) -> None:
        """Nothing was sent that would have taken the new tag."""
        assert self.has_slept
        assert self.digest not in proxy.sent("DELETE")
        assert self._pusher.is_whole("r", "stable")
        assert self._pusher.tags("r")["1.0"] == self.digest


async def test_between_the_intent_and_its_delete(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, record = Doomed(pusher, sleep), Intents.record

    async def slow(self: Intents, *arguments: Any) -> None:
        await record(self, *arguments)
        doomed.sleep()

    monkeypatch.setattr(Intents, "record", slow)
    assert results(await Removing(proxy.url, tmp_path).remove("1.0")) == [Result.LEFT]
    doomed.check(proxy)


async def test_between_two_steps_of_a_batch(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)
    first = pusher.push_image("r", "0.9", seed="first")["digest"]
    doomed = Doomed(pusher, sleep)

    def after(request: Request, answer: Answer) -> Answer:
        if (request.method, request.reference) == ("DELETE", first):
            doomed.sleep()
        return answer

    proxy.after = after
    assert results(await Removing(proxy.url, tmp_path).remove("<2")) == [Result.REMOVED, Result.LEFT]
    doomed.check(proxy)


async def test_while_the_registry_limits_requests(proxy: Proxy, pusher: Pusher, tmp_path: Path, sleep: Sleep) -> None:
    doomed = Doomed(pusher, sleep)
    refused: list[str] = []

    def before(request: Request) -> Answer | None:
        if request.method != "DELETE" or request.reference != doomed.digest:
            return None
        refused.append(request.reference)
        doomed.sleep()
        return Answer(429, b"", {"Retry-After": "0"})

    proxy.before = before
    assert results(await Removing(proxy.url, tmp_path).remove("1.0")) == [Result.LEFT]
    assert len(refused) == 1
    assert pusher.is_whole("r", "stable")


def test_between_the_plan_and_the_run(proxy: Proxy, pusher: Pusher, tmp_path: Path, sleep: Sleep) -> None:
    """What the plan was made from is taken for a look only where it is fresh."""
    doomed = Doomed(pusher, sleep)
    with dregutil.open(proxy.url, state_dir=tmp_path) as registry:
        plan = registry.plan_removal("r", tags=["1.0"])
        doomed.sleep()
        assert results(registry.apply(plan)) == [Result.LEFT]
    doomed.check(proxy)


async def test_between_a_tag_and_its_digest(tmp_path: Path, sleep: Sleep) -> None:
    """The registry deletes no digest that has tags: they go first, by their names."""
    with MemoryServer(Switches(untags=True)) as server, Pusher(server.url) as pusher, Proxy(server.port) as proxy:
        doomed = Doomed(pusher, sleep)

        def before(request: Request) -> Answer | None:
            is_it = (request.method, request.reference) == ("DELETE", doomed.digest)
            if is_it and doomed.digest in pusher.tags("r").values() and not doomed.has_slept:
                return Answer(400, b'{"errors": [{"code": "GOOGLE_MANIFEST_DANGLING_TAG"}]}')
            return None

        def after(request: Request, answer: Answer) -> Answer:
            if (request.method, request.reference) == ("DELETE", "1.0"):
                doomed.sleep()
            return answer

        proxy.before, proxy.after = before, after
        assert results(await Removing(proxy.url, tmp_path).remove("1.0")) == [Result.LEFT]
        assert proxy.sent("DELETE").count(doomed.digest) == 1, "the one that was refused"
        assert pusher.is_whole("r", "stable")
        assert pusher.tags("r")["1.0"] == doomed.digest


async def test_while_a_tag_is_on_a_placeholder(tmp_path: Path, sleep: Sleep) -> None:
    """Somebody copies the tag meanwhile: the copy is looked for before the placeholder goes."""
    with MemoryServer() as server, Pusher(server.url) as pusher, Proxy(server.port) as proxy:
        image = pusher.push_image("r", "1.0", seed="one")
        pusher.push_manifest("r", "2.0", pusher.raw("r", "1.0"), IMAGE)

        def after(request: Request, answer: Answer) -> Answer:
            if (request.method, request.reference) == ("PUT", "1.0"):
                pusher.push_manifest("r", "copy", pusher.raw("r", "1.0"), IMAGE)
                sleep()
            return answer

        proxy.after = after
        await Removing(proxy.url, tmp_path).remove("1.0", options=RemovalOptions(untag=True), rules=MatchRules())
        assert pusher.tags("r") == {"2.0": image["digest"], "copy": image["digest"]}
