"""The repositories of a run under permits of their own, as in a team's store: what each permits, how it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dregutil.apply.apply import apply_plan
from dregutil.errors import LeaseLostError
from dregutil.inventory.crawl import crawl
from dregutil.journal.claims import Claim, OnlyProcess
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan
from dregutil.plan.outcome import NoRecorder, Result, RunResult
from dregutil.registry import connect_writable
from dregutil.registry.permit import Permit, permitted
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from remembering import plan_removal
from removing import results
from servers.http import LOST, Answer, Proxy, Request
from servers.memory import MemoryServer


class Given:
    def __init__(self, *, lasts: bool) -> None:
        self.lasts = lasts

    def check(self) -> None:
        if not self.lasts:
            raise LeaseLostError("the lease is over")


class Claimed(OnlyProcess):
    """Gives each repository with its permit, and notes how it was given up."""

    def __init__(self, plan: Plan, permits: dict[str, Permit]) -> None:
        super().__init__(plan)
        self.settled: dict[str, bool] = {}
        self._permits = permits

    async def next(self, stop: asyncio.Event) -> Claim | None:
        found = await super().next(stop)
        return None if found is None else replace(found, permit=self._permits[found.repository])

    async def release(self, claim: Claim, *, settled: bool) -> None:
        self.settled[claim.repository] = settled


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with MemoryServer() as server, Proxy(server.port) as found:
        yield found


async def remove(proxy: Proxy, **lasting: bool) -> tuple[RunResult, Claimed]:
    """Remove `1.0` from each repository, under a permit for the registry that lasts."""
    with Pusher(f"http://127.0.0.1:{proxy.upstream}") as pusher:
        digests = {name: pusher.push_image(name, "1.0", seed=name)["digest"] for name in lasting}
    async with connect_writable(f"http://127.0.0.1:{proxy.port}") as registry:
        found = (await crawl(registry)).inventory
        selection = select_tags(found, [Repository(name) for name in lasting], TagSelector.build(("1.0",)), None)
        plan = await plan_removal(registry, selection, found)
        claims = Claimed(plan, {name: Given(lasts=lasts) for name, lasts in lasting.items()})
        with permitted(Given(lasts=True)):
            result = await apply_plan(registry, plan, recorder=NoRecorder(), claims=claims)
    sent = set(proxy.sent("DELETE"))
    assert {name for name, digest in digests.items() if digest in sent} <= {name for name in lasting if lasting[name]}
    return result, claims


async def test_nothing_is_sent_to_a_repository_whose_own_lease_is_over(proxy: Proxy) -> None:
    """That of the registry, which the run has, is not enough."""
    result, claims = await remove(proxy, r=False)
    assert isinstance(result.error, LeaseLostError)
    assert claims.settled == {"r": False}


async def test_what_has_its_answers_is_given_up_at_once(proxy: Proxy) -> None:
    result, claims = await remove(proxy, r=True)
    assert result.is_finished
    assert claims.settled == {"r": True}


async def test_a_repository_with_a_write_that_has_no_answer_runs_out(proxy: Proxy) -> None:
    """Whoever comes next waits for it."""

    def lose(request: Request) -> Answer | None:
        return LOST if len(proxy.sent("DELETE")) > 1 and request.method == "DELETE" else None  # the first one probes

    proxy.before = lose
    result, claims = await remove(proxy, r=True)
    assert results(result) == [Result.FAILED]
    assert claims.settled == {"r": False}
