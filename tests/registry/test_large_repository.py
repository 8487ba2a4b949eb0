"""Large repositories: the faster method is chosen automatically and reported, with few requests at once; small ones are
removed one by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.cost import plan_seconds, tags_first_pays
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.plan.outcome import Result
from dregutil.report.removal import plan_lines
from images import Pusher
from removing import Removing, results
from servers.http import Answer, Request
from servers.memory import MemoryServer

TAGS = 1100
DOOMED = 1050


class Watched(MemoryServer):
    """Counts requests, and the DELETEs in flight at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Counter[str] = Counter()
        self.order: list[tuple[str, str]] = []
        self.most = 0
        self._under_way = 0

    async def respond(self, request: Request) -> Answer:
        self.sent[request.method] += 1
        if request.method != "DELETE":
            return self.answer(request)
        self.order.append((request.method, request.reference))
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._under_way -= 1
        return self.answer(request)


def fill(server: MemoryServer, number: int) -> dict[str, str]:
    """Images of one config and layer each; only the first goes over the wire."""
    with Pusher(server.url) as pusher:
        pusher.push_image("r", "1.0", seed="0")
        found = server.repositories["r"]
        (one,) = found.manifests.values()
        for place in range(1, number):
            raw = one.raw.replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "annotations": {"n": "%d"}' % place)
            digest = Pusher.digest_of(raw)
            found.manifests[digest] = type(one)(digest, one.media_type, raw)
            found.tags = {**(found.tags or {}), f"1.{place}": digest}
        return dict(found.tags or {})


async def test_most_of_a_large_repository_goes_in_one_sweep(tmp_path: Path) -> None:
    with Watched() as server:
        before = fill(server, TAGS)
        removing = Removing(server.url, tmp_path)
        plan = await removing.plan(f"<1.{DOOMED}")
        assert "r is large: its tags go first, in one sweep, then their manifests" in plan_lines(plan, unmatched=0)
        server.sent.clear()
        server.order.clear()
        assert set(results(await removing.apply(plan))) == {Result.REMOVED}
        swept = [reference for _, reference in server.order if reference not in before.values()]
        place = server.order.index(("DELETE", swept[-1]))
        assert not {reference for _, reference in server.order[:place]} & set(before.values()), "tags go first"
        assert server.sent["PUT"] >= DOOMED
        assert server.most <= 4, "a server reads every tag for each DELETE"
        kept = {tag: digest for tag, digest in before.items() if int(tag[2:]) >= DOOMED}
        assert server.repositories["r"].tags == kept
        assert set(server.repositories["r"].manifests) == set(kept.values())
        undone = await removing.undo()
        assert undone is not None
        assert undone.error is None
        assert server.repositories["r"].tags == before


async def test_a_few_tags_of_a_large_repository_are_deleted_one_by_one(tmp_path: Path) -> None:
    with Watched() as server:
        fill(server, TAGS)
        removing = Removing(server.url, tmp_path)
        plan = await removing.plan("<1.5")
        assert not any("is large" in line for line in plan_lines(plan, unmatched=0))
        server.sent.clear()
        assert set(results(await removing.apply(plan))) == {Result.REMOVED}
        assert (server.sent["PUT"], server.sent["DELETE"]) == (0, 5 + 1)  # one checks whether deletion is allowed


def steps(number: int) -> list[Step]:
    return [
        Step(place, Action.DELETE, Repository("r"), Digest.of(b"%d" % place), (Tag(str(place)),), StepKind.IMAGE, "")
        for place in range(1, number + 1)
    ]


@pytest.mark.parametrize(
    ("doomed", "tags", "pays"),
    [(50, 50, False), (500, 500, False), (1000, 1000, True), (9_000, 10_000, True), (20, 10_000, False)],
)
def test_when_the_sweep_pays(doomed: int, tags: int, pays: bool) -> None:
    assert tags_first_pays(steps(doomed), tags) == pays


def test_the_estimate_is_for_the_method_that_is_used() -> None:
    """9,000 of 10,000: a quarter of an hour one by one, about a minute in one sweep."""
    plan = Plan("registry", datetime.now(UTC), "", tuple(steps(9_000)), tags_before={Repository("r"): 10_000})
    assert 20 < plan_seconds(plan, 0.001, 32) < 120
