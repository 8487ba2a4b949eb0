"""Harbor's own API, simulated (`servers/native/harbor.py` names the sources)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from dregutil.errors import NoListingError, ProtocolError, RegistryError
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native.harbor import Harbor, is_harbor
from dregutil.registry.server_kind import Evidence
from native_access import access_to, entry, hold_image, hold_index
from servers.native.harbor import HarborServer

WEB = Repository("shop/web")
USER, PASSWORD = "robot$ci", "a secret of Harbor"
DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[HarborServer]:
    with HarborServer(USER, PASSWORD) as found:
        yield found


@asynccontextmanager
async def harbor(server: HarborServer, password: str = PASSWORD) -> AsyncIterator[Harbor]:
    async with access_to(server.url, USER, password) as access:
        yield Harbor(access)


async def listed(server: HarborServer, repository: Repository = WEB) -> Listing:
    async with harbor(server) as service:
        return await service.listing(repository)


async def test_a_hundred_artifacts_take_one_request(server: HarborServer) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(250)}
    hold_image(server, WEB, seed="untagged")

    found = await listed(server)

    assert dict(found.tags) == digests
    assert len(found.entries) == 251
    assert found.is_complete
    assert found.has_untagged
    assert len(server.calls) == 5  # the first and the last page are read again


async def test_a_full_last_page_is_followed_by_no_request(server: HarborServer) -> None:
    for number in range(200):
        hold_image(server, WEB, f"1.{number}", seed=str(number))

    assert len((await listed(server)).entries) == 200
    assert len(server.calls) == 4


async def test_a_slash_in_the_name_within_the_project_is_encoded_twice(server: HarborServer) -> None:
    one = hold_image(server, "shop/team/web/front", "1.0", seed="one")

    assert dict((await listed(server, Repository("shop/team/web/front"))).tags) == {"1.0": one}
    assert "/repositories/team%252Fweb%252Ffront/artifacts" in server.calls[0]


async def test_a_repository_outside_of_any_project_is_not_listed(server: HarborServer) -> None:
    with pytest.raises(NoListingError, match="in no project"):
        await listed(server, Repository("web"))


def push(server: HarborServer, seed: str) -> None:
    hold_image(server, WEB, f"new.{seed}", seed=f"new {seed}")


def delete(server: HarborServer, seed: str) -> None:
    server._take(server.repositories[WEB], next(iter(server.repositories[WEB].manifests)))


def exchange(server: HarborServer, seed: str) -> None:
    """The count stays the same."""
    delete(server, seed)
    push(server, seed)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("change", [push, delete, exchange])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_list_that_changed_while_its_pages_were_read_is_read_once_more(
    server: HarborServer, change: Callable[[HarborServer, str], None], newest_first: bool, times: int
) -> None:
    server.newest_first = newest_first
    for number in range(250):
        hold_image(server, WEB, f"1.{number}", seed=str(number))
    changes = iter(range(times))

    def before_page(number: int) -> None:
        if number == 2 and (seed := next(changes, None)) is not None:
            change(server, str(seed))

    server.before_page = before_page

    found = await listed(server)

    assert found.is_complete == (times == 1)
    if found.is_complete:
        assert found.tags == server.repositories[WEB].tags
    assert len(server.calls) == 10


@pytest.mark.parametrize("bare", [None, []])
async def test_an_artifact_has_what_harbor_says_of_it(server: HarborServer, bare: list[str] | None) -> None:
    server.bare = bare
    child = hold_image(server, WEB, seed="child")
    index = hold_index(server, WEB, "1.0", "stable", children=[child])
    server.pushed[WEB, index] = server.now - DAY

    found = await listed(server)

    one = entry(found, index)
    assert one.tags == ("1.0", "stable")
    assert one.media_type == "application/vnd.oci.image.index.v1+json"
    assert one.children == (child,)
    assert one.size is not None
    assert one.pushed == server.now - DAY
    assert entry(found, child).tags == ()
    assert entry(found, child).children == ()


async def test_a_child_s_pull_is_one_of_its_index(server: HarborServer) -> None:
    child, other = hold_image(server, WEB, seed="child"), hold_image(server, WEB, "other", seed="other")
    inner = hold_index(server, WEB, children=[child])
    index = hold_index(server, WEB, "1.0", children=[inner])
    server.pull(WEB, child)

    found = await listed(server)

    assert found.has_pulls
    assert entry(found, index).pulled == entry(found, child).pulled == server.now
    assert entry(found, other).pulled is None
    assert any("scanner" in doubt for doubt in found.doubts)


async def test_the_youngest_pull_counts(server: HarborServer) -> None:
    child = hold_image(server, WEB, seed="child")
    index = hold_index(server, WEB, "1.0", children=[child])
    server.pull(WEB, child)
    server.now += DAY
    server.pull(WEB, index)

    assert entry(await listed(server), index).pulled == server.now


async def test_no_pull_at_all_is_not_taken_for_never(server: HarborServer) -> None:
    server.records_pulls = False
    one = hold_image(server, WEB, "1.0", seed="one")
    server.pull(WEB, one)

    found = await listed(server)

    assert not found.has_pulls
    assert any("set not to record" in doubt for doubt in found.doubts)


async def test_a_child_that_is_not_listed_leaves_pulls_unknown(server: HarborServer) -> None:
    """A Harbor that ignores `base=*` lists no untagged children."""
    missing = hold_image(server, WEB, seed="missing")
    hold_index(server, WEB, "1.0", children=[missing])
    server.pull(WEB, hold_image(server, WEB, "2.0", seed="two"))
    del server.repositories[WEB].manifests[missing]

    found = await listed(server)

    assert not found.has_pulls
    assert any("children" in doubt for doubt in found.doubts)


async def test_an_immutable_tag_is_locked_and_so_is_its_artifact(server: HarborServer) -> None:
    one = hold_image(server, WEB, "1.0", "latest", seed="one")
    server.immutable.add("1.0")

    found = entry(await listed(server), one)

    assert found.locked_tags.keys() == {"1.0"}
    assert "immutability rule" in found.locked_tags[Tag("1.0")]
    assert found.locked == "its tag 1.0 is immutable"
    async with harbor(server) as service:
        for attempt in (
            service.writing().delete_tag(WEB, Tag("1.0")),
            service.writing().delete_manifest(WEB, Digest(one)),
        ):
            with pytest.raises(RegistryError, match="status 412") as refused:
                await attempt
            assert "immutability rule" in refused.value.advice
        assert await service.writing().delete_tag(WEB, Tag("latest"))
    assert server.repositories[WEB].tags == {"1.0": one}


async def test_one_tag_goes_and_its_manifest_stays(server: HarborServer) -> None:
    one = hold_image(server, WEB, "1.0", "stable", seed="one")
    two = hold_image(server, WEB, "2.0", seed="two")
    async with harbor(server) as service:
        writer = service.writing()
        assert await writer.delete_tag(WEB, Tag("1.0"))
        assert await writer.delete_tag(WEB, Tag("2.0"))
        assert not await writer.delete_tag(WEB, Tag("1.0"))

    assert server.repositories[WEB].tags == {"stable": one}
    assert server.repositories[WEB].manifests.keys() == {one, two}
    assert not any(method.startswith(("PUT", "POST")) for method in server.calls)


async def test_an_index_goes_with_its_children_and_a_child_alone_does_not(server: HarborServer) -> None:
    child, tagged = hold_image(server, WEB, seed="child"), hold_image(server, WEB, "own", seed="tagged")
    index = hold_index(server, WEB, "1.0", children=[child, tagged])
    async with harbor(server) as service:
        writer = service.writing()
        with pytest.raises(RegistryError, match="status 412"):
            await writer.delete_manifest(WEB, Digest(child))
        assert await writer.delete_manifest(WEB, Digest(index))
        assert not await writer.delete_manifest(WEB, Digest(index))

    assert server.repositories[WEB].manifests.keys() == {tagged}


async def test_a_service_that_reads_cannot_delete(server: HarborServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with harbor(server) as service:
        service.writing()
        with pytest.raises(ProtocolError, match="sends no DELETE"):
            await service.delete_tag(WEB, Tag("1.0"))
    assert server.calls == []


async def test_a_refused_login_and_an_unknown_repository_say_so(server: HarborServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with harbor(server, "wrong password") as service:
        with pytest.raises(NoListingError, match="does not accept the login") as refused:
            await service.listing(WEB)
    assert "wrong password" not in refused.value.message
    assert len(server.calls) == 1
    with pytest.raises(NoListingError, match="no such list"):
        await listed(server, Repository("shop/none"))


async def test_a_password_for_digest_logins_is_not_sent(server: HarborServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with access_to(server.url, USER, PASSWORD, digest_auth=True) as access:
        with pytest.raises(NoListingError):
            await Harbor(access).listing(WEB)


def test_harbor_is_known_by_its_token_server() -> None:
    address = RegistryAddress.parse("harbor.example.com")
    assert is_harbor(address, Evidence("harbor.example.com", {}, "https://x/service/token", "harbor-registry"))
    assert not is_harbor(address, Evidence("harbor.example.com"))
