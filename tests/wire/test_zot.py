"""zot's search, simulated (`servers/native/zot.py` names the source)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from dregutil.errors import NoListingError
from dregutil.inventory.crawl import crawl
from dregutil.oci.listing import Listing
from dregutil.oci.names import Repository
from dregutil.registry import connect
from dregutil.registry.native.zot import Zot, has_zot_search
from native_access import access_to, entry, hold_image, hold_index
from servers.http import Answer, Request
from servers.native.zot import ZotServer

WEB = Repository("shop/web")


@pytest.fixture
def server() -> Iterator[ZotServer]:
    with ZotServer() as found:
        yield found


@asynccontextmanager
async def zot(server: ZotServer) -> AsyncIterator[Zot]:
    async with access_to(server.url) as access:
        yield Zot(access)


async def listed(server: ZotServer, repository: Repository = WEB) -> Listing:
    async with zot(server) as service:
        return await service.listing(repository)


async def test_one_search_lists_all_images(server: ZotServer) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(250)}
    hold_image(server, WEB, seed="untagged")

    found = await listed(server)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert len(server.searches) == 1


@pytest.mark.parametrize("never", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
async def test_an_image_has_what_zot_says_of_it(server: ZotServer, never: str) -> None:
    server.never = never
    child = hold_image(server, WEB, "child", seed="child")
    index = hold_index(server, WEB, "1.0", "stable", children=[child])
    server.pulled[index] = server.now

    found = await listed(server)

    one = entry(found, index)
    assert one.tags == ("1.0", "stable")
    assert one.media_type == "application/vnd.oci.image.index.v1+json"
    assert one.size == len(server.repositories[WEB].manifests[index].raw)
    assert one.pushed == one.pulled == server.now
    assert one.children is None
    assert entry(found, child).pulled is None
    assert entry(found, child).children == ()
    assert found.has_pulls


@pytest.mark.parametrize("status", [200, 422])
@pytest.mark.parametrize(("version", "searches", "has_pulls"), [((2, 1, 14), 2, True), ((2, 1, 1), 3, False)])
async def test_an_older_version_is_asked_for_fewer_fields(
    server: ZotServer, version: tuple[int, int, int], searches: int, has_pulls: bool, status: int
) -> None:
    server.version, server.status = version, status
    one = hold_image(server, WEB, "1.0", seed="one")

    found = await listed(server)

    assert dict(found.tags) == {"1.0": one}
    assert found.has_pulls == has_pulls
    assert (found.entries[0].pushed is not None) == has_pulls
    assert len(server.searches) == searches


async def test_an_image_that_zot_leaves_out_makes_the_list_incomplete(server: ZotServer) -> None:
    digests = [hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(150)]
    server.skipped.add(digests[149])

    found = await listed(server)

    assert len(found.tags) == 149
    assert not found.is_complete


async def test_an_error_of_the_search_is_no_empty_list(server: ZotServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    monkeypatch.setattr("servers.native.zot._QUERY", re.compile("nothing"))
    with pytest.raises(NoListingError, match="did not list shop/web: Unexpected Name"):
        await listed(server)


async def test_zot_is_known_by_its_extensions(server: ZotServer) -> None:
    async with access_to(server.url) as access:
        assert await has_zot_search(access)
        server.has_search = False
        assert not await has_zot_search(access)
        with pytest.raises(NoListingError):
            await Zot(access).listing(WEB)


# --- found out by a command


async def test_a_registry_with_many_tags_is_asked_once_for_its_extensions(
    server: ZotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        hold_image(server, WEB, f"1.{number}", seed=str(number))
        hold_image(server, "shop/db", f"1.{number}", seed=f"db {number}")
    hold_image(server, "shop/few", "1.0", seed="few")
    seen = watched(server, monkeypatch)
    async with connect(server.url) as registry:
        await registry.ping()
        found = await crawl(registry)

    assert {name: len(found.inventory.tags(Repository(name))) for name in (WEB, "shop/db", "shop/few")} == {
        WEB: 150,
        "shop/db": 150,
        "shop/few": 1,
    }
    assert set(found.listings) >= {WEB, "shop/db"}
    assert seen["/v2/_oci/ext/discover"] == 1
    assert sum(seen.values()) < 15


async def test_another_registry_is_asked_once_and_only_where_that_may_save_much(
    server: ZotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.has_search = False
    hold_image(server, WEB, "1.0", seed="one")
    seen = watched(server, monkeypatch)
    async with connect(server.url) as registry:
        await registry.ping()
        await crawl(registry)
        assert seen["/v2/_oci/ext/discover"] == 0
        for number in range(150):
            hold_image(server, WEB, f"1.{number}", seed=str(number))
            hold_image(server, "shop/db", f"1.{number}", seed=f"db {number}")
        found = await crawl(registry)
        assert seen["/v2/_oci/ext/discover"] == 1
    assert len(found.inventory.tags(WEB)) == 150
    assert found.listings == {}
    assert found.doubted == {}


def watched(server: ZotServer, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each path is requested from now on."""
    seen: Counter[str] = Counter()
    answer = server.answer

    def counted(request: Request) -> Answer:
        seen[request.path] += 1
        return answer(request)

    monkeypatch.setattr(server, "answer", counted)
    return seen
