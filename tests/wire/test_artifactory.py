"""Artifactory's query language, simulated (`servers/native/artifactory.py` names the sources)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from dregutil.errors import NoListingError
from dregutil.oci.listing import Listing
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry.native.artifactory import Artifactory, is_artifactory
from dregutil.registry.server_kind import Evidence
from native_access import access_to, entry, hold_image, hold_index
from servers.native.artifactory import ArtifactoryServer

WEB = Repository("docker-local/shop/web")
DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[ArtifactoryServer]:
    with ArtifactoryServer() as found:
        yield found


@asynccontextmanager
async def artifactory(
    server: ArtifactoryServer, host: str = "", secret: str = "a-secret"
) -> AsyncIterator[Artifactory]:
    async with access_to(server.url, "ann", secret) as access:
        address = RegistryAddress.parse(host) if host else access.address
        yield Artifactory(replace(access, address=address))


async def listed(server: ArtifactoryServer, repository: Repository = WEB, host: str = "") -> Listing:
    async with artifactory(server, host) as service:
        return await service.listing(repository)


async def test_one_query_lists_all_tags(server: ArtifactoryServer) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(250)}

    found = await listed(server)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert len(server.queries) == 1


async def test_a_tag_has_what_artifactory_says_of_it(server: ArtifactoryServer) -> None:
    index = hold_index(server, WEB, "1.0", "stable", children=[hold_image(server, WEB, seed="child")])
    other = hold_image(server, WEB, "2.0", seed="other")
    server.downloaded[WEB, "1.0"] = server.now
    server.remote[WEB, "1.0"] = server.now + DAY

    found = await listed(server)

    assert {found.digest for found in found.entries} == {index, other}
    assert entry(found, index).tags == ("1.0", "stable")
    assert entry(found, index).pushed == server.now
    assert entry(found, index).pulled == server.now + DAY
    assert entry(found, index).children is None
    assert entry(found, other).pulled is None
    assert entry(found, other).children == ()
    assert found.has_pulls


async def test_an_image_whose_name_goes_on_is_another_one(server: ArtifactoryServer) -> None:
    one = hold_image(server, WEB, "1.0", seed="one")
    hold_image(server, f"{WEB}/front", "9.0", seed="two")

    assert dict((await listed(server)).tags) == {"1.0": one}


async def test_an_answer_that_is_cut_is_not_complete(server: ArtifactoryServer) -> None:
    for number in range(20):
        hold_image(server, WEB, f"1.{number}", seed=str(number))
    server.most = 10

    assert not (await listed(server)).is_complete


async def test_the_repository_may_be_in_the_host_s_name() -> None:
    with ArtifactoryServer("docker-local", in_names=False) as server:
        one = hold_image(server, "shop/web", "1.0", seed="one")
        two = hold_image(server, "web", "2.0", seed="two")

        assert dict((await listed(server, Repository("shop/web"), "docker-local.example.com")).tags) == {"1.0": one}
        assert dict((await listed(server, Repository("web"), "docker-local.example.com")).tags) == {"2.0": two}
        with pytest.raises(NoListingError, match="has no image at shop/web"):
            await listed(server, Repository("shop/web"))


async def test_another_digest_than_the_registry_s_is_not_believed(server: ArtifactoryServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.hashes_otherwise = True
    with pytest.raises(NoListingError, match="different digests"):
        await listed(server)


async def test_no_more_than_three_queries_at_once(server: ArtifactoryServer) -> None:
    names = [Repository(f"docker-local/shop/web{number}") for number in range(12)]
    for name in names:
        hold_image(server, name, "1.0", seed=name)
    async with artifactory(server) as service:
        found = await asyncio.gather(*(service.listing(name) for name in names))

    assert all(one.is_complete for one in found)
    assert server.most_at_once == 3


async def test_a_refused_login_says_so(server: ArtifactoryServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    async with artifactory(server, secret="wrong password") as service:
        with pytest.raises(NoListingError, match="does not accept the login"):
            await service.listing(WEB)


def test_artifactory_is_known_by_its_headers() -> None:
    address = RegistryAddress.parse("registry.example.com")
    assert is_artifactory(address, Evidence("registry.example.com", {"x-jfrog-version": "Artifactory/7.77.5"}))
    assert not is_artifactory(address, Evidence("registry.example.com"))
