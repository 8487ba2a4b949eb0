"""Dangling tags at the end of a removal: they get their images back, and the cost does not multiply."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from dregutil.apply import last_look
from dregutil.plan.outcome import Result
from dregutil.registry import ConnectOptions
from images import Pusher
from removing import Removing, results
from servers.http import Answer, Request
from servers.memory import MemoryServer


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_look, "_LAGS", ())


class Dangling(MemoryServer):
    """Once `targets` are deleted, tags that point to them appear; without any, tags that point to nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.sent: Counter[str] = Counter()
        self.targets: list[str] = []

    def answer(self, request: Request) -> Answer:
        self.sent[request.method] += 1
        answer = super().answer(request)
        found = self.repositories.get("r")
        deleted = request.method == "DELETE" and answer.status == 202
        if self.number and deleted and found is not None and found.manifests.keys().isdisjoint(self.targets):
            targets = self.targets or [f"sha256:{0:064}"]
            more = {f"new-{n}": targets[n % len(targets)] for n in range(self.number)}
            found.tags = {**(found.tags or {}), **more}
            self.number = 0
        return answer


def fill(server: MemoryServer, number: int) -> list[str]:
    with Pusher(server.url) as pusher:
        stays = pusher.push_image("s", "stays", seed="stays")["digest"]
        pusher.push_image("r", "1.0", seed="0")
        found = server.repositories["r"]
        (one,) = found.manifests.values()
        found.manifests[stays] = server.repositories["s"].manifests[stays]
        tags = {"1.0": one.digest, "stays": stays}
        for place in range(1, number):
            raw = one.raw.replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "annotations": {"n": "%d"}' % place)
            digest = Pusher.digest_of(raw)
            found.manifests[digest] = type(one)(digest, one.media_type, raw)
            tags[f"1.{place}"] = digest
        found.tags = tags
        return [digest for tag, digest in tags.items() if tag != "stays"]


async def cost(folder: Path, removed: int, dangling: int) -> tuple[int, float]:
    """The requests and seconds of a removal with so many dangling tags at its end."""
    with Dangling(dangling) as server:
        fill(server, removed)
        removing = Removing(server.url, folder / f"{removed} {dangling}")
        plan = await removing.plan("<2")
        server.sent.clear()
        started = time.monotonic()
        result = await removing.apply(plan)
        assert set(results(result)) == {Result.REMOVED}
        return server.sent.total(), time.monotonic() - started


async def test_requests_grow_with_deleted_digests_and_not_with_dangling_tags(tmp_path: Path) -> None:
    (none, _), (few, _), (many, _) = [await cost(tmp_path, 200, number) for number in (0, 5, 50)]
    tries = 200 // 64 + 1
    assert few - none <= 4 * 200 + 5 * (tries + 3) + 20, "each digest is put, read, and deleted once more"
    # Until a HEAD was answered in the repository, a denied one is followed by a GET: at most one for each in flight.
    in_flight = ConnectOptions().concurrency
    assert many - few <= 45 * (tries + 3) + in_flight, "a tag is asked for once for many digests"


async def test_a_tag_overtaken_by_a_delete_gets_its_image_back(tmp_path: Path) -> None:
    """The tag was written, and then its manifest was deleted: of a hundred, the one that the tag points to stays."""
    with Dangling(2) as server:
        digests = fill(server, 100)
        server.targets = [digests[70], digests[7]]
        result = await Removing(server.url, tmp_path).remove("<2")
        assert result is not None
        tags = server.repositories["r"].tags or {}
        assert tags.pop("stays")
        assert tags == {"new-0": digests[70], "new-1": digests[7]}
        assert len(server.repositories["r"].manifests) == 3
        assert Counter(results(result)) == {Result.REMOVED: 98, Result.LEFT: 2}
