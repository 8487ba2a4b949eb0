"""ACR's own API, simulated (`servers/native/acr.py` names the sources)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from dregutil.errors import DeniedError, LoginError, NoListingError, ProtocolError, RegistryError
from dregutil.oci.listing import Listing
from dregutil.oci.names import RegistryAddress, Repository, Tag
from dregutil.registry.native.acr import Acr, is_acr
from dregutil.registry.server_kind import Evidence
from native_access import access_to, entry, hold_image, hold_index
from servers.native.acr import AcrServer
from servers.native.tokens import User

WEB = Repository("shop/web")
DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[AcrServer]:
    with AcrServer() as found:
        yield found


@asynccontextmanager
async def acr(server: AcrServer) -> AsyncIterator[Acr]:
    async with access_to(server.url, "ann", "a-secret") as access:
        yield Acr(access)


async def listed(server: AcrServer, repository: Repository = WEB) -> Listing:
    async with acr(server) as service:
        return await service.listing(repository)


@pytest.mark.parametrize(("cap", "strict", "requests"), [(1000, False, 4), (100, False, 30), (100, True, 32)])
async def test_all_manifests_are_listed_whatever_the_longest_page(cap: int, strict: bool, requests: int) -> None:
    with AcrServer(cap=cap, strict=strict) as server:
        digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(1450)}
        untagged = hold_image(server, WEB, seed="untagged")

        found = await listed(server)

        assert dict(found.tags) == digests
        assert entry(found, untagged).tags == ()
        assert found.is_complete
        assert found.has_untagged
        assert not found.has_pulls
        assert len(server.calls) == requests


async def test_a_manifest_has_what_acr_says_of_it(server: AcrServer) -> None:
    child = hold_image(server, WEB, seed="child")
    index = hold_index(server, WEB, "1.0", "stable", children=[child])
    server.changed[index] = server.now + DAY

    found = await listed(server)

    one = entry(found, index)
    assert one.tags == ("1.0", "stable")
    assert one.media_type == "application/vnd.oci.image.index.v1+json"
    assert one.size == len(server.repositories[WEB].manifests[index].raw)
    assert one.pushed == server.now + DAY
    assert one.pulled is None
    assert one.children == (child,)
    assert one.locked == ""
    assert one.locked_tags == {}
    assert entry(found, child).children == ()


async def test_locks_are_listed_and_a_locked_tag_stays(server: AcrServer) -> None:
    one, two = hold_image(server, WEB, "1.0", "stable", seed="one"), hold_image(server, WEB, "2.0", seed="two")
    server.locks = {(WEB, "1.0"): {"deleteEnabled"}, (WEB, two): {"writeEnabled"}}

    found = await listed(server)

    assert entry(found, one).locked == ""
    assert entry(found, one).locked_tags == {"1.0": "it is locked in ACR"}
    assert entry(found, two).locked == "it is locked in ACR"
    async with acr(server) as service:
        with pytest.raises(RegistryError, match="status 405") as refused:
            await service.writing().delete_tag(WEB, Tag("1.0"))
    assert "unlock it" in refused.value.advice
    assert server.repositories[WEB].tags == {"1.0": one, "stable": one, "2.0": two}


async def test_one_tag_goes_and_its_manifest_stays(server: AcrServer) -> None:
    one = hold_image(server, WEB, "1.0", "stable", seed="one")
    two = hold_image(server, WEB, "2.0", seed="two")
    async with acr(server) as service:
        writer = service.writing()
        assert await writer.delete_tag(WEB, Tag("1.0"))
        assert await writer.delete_tag(WEB, Tag("2.0"))
        assert not await writer.delete_tag(WEB, Tag("1.0"))

    assert server.repositories[WEB].tags == {"stable": one}
    assert server.repositories[WEB].manifests.keys() == {one, two}


async def test_lists_that_differ_are_not_complete(server: AcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is pushed after the manifests were listed."""
    one = hold_image(server, WEB, "1.0", seed="one")
    made = server._list

    def then_push(*of: object) -> object:
        found = made(*of)  # type: ignore[arg-type] # as it was called
        hold_image(server, WEB, "2.0", seed="two")
        return found

    monkeypatch.setattr(server, "_list", then_push)

    found = await listed(server)

    assert dict(found.tags) == {"1.0": one}
    assert not found.is_complete


async def test_a_login_without_the_right_says_so(server: AcrServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.users["ann"] = User("a-secret", frozenset(("pull",)))
    async with acr(server) as service:
        with pytest.raises(NoListingError):
            await service.listing(WEB)
        with pytest.raises((DeniedError, LoginError)):
            await service.writing().delete_tag(WEB, Tag("1.0"))


async def test_an_unknown_repository_says_so(server: AcrServer) -> None:
    with pytest.raises(NoListingError, match="no such list"):
        await listed(server)


async def test_a_service_that_reads_cannot_delete(server: AcrServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with acr(server) as service:
        service.writing()
        with pytest.raises(ProtocolError, match="sends no DELETE"):
            await service.delete_tag(WEB, Tag("1.0"))


def test_acr_is_known_by_its_name_and_its_header() -> None:
    address = RegistryAddress.parse("r.azurecr.io")
    assert is_acr(address, Evidence("r.azurecr.io"))
    assert is_acr(address, Evidence("registry.example.com", {"server": "AzureContainerRegistry"}))
    assert not is_acr(address, Evidence("registry.example.com"))
