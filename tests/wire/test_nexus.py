"""Nexus' search, simulated (`servers/native/nexus.py` names the sources)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from dregutil.errors import NoListingError, UnlistableError
from dregutil.oci.api_address import ApiAddress
from dregutil.oci.listing import Listing, difference
from dregutil.oci.names import Repository
from dregutil.registry.native import nexus as module
from dregutil.registry.native.nexus import Nexus
from images import IMAGE, INDEX
from native_access import access_to, entry, hold_image, hold_index
from servers.http import Answer, Request, Stranger
from servers.native.nexus import NexusApi, NexusRegistry

WEB = Repository("shop/web")
DAY = timedelta(days=1)


@pytest.fixture
def registry() -> Iterator[NexusRegistry]:
    with NexusRegistry() as found:
        yield found


@pytest.fixture
def api(registry: NexusRegistry) -> Iterator[NexusApi]:
    with NexusApi(registry) as found:
        yield found


@asynccontextmanager
async def nexus(api: NexusApi, user: str = "ann", secret: str = "a-secret", named: str = "") -> AsyncIterator[Nexus]:
    address = ApiAddress(api.url, named or api.repository)
    async with access_to(api.registry.url, user, secret, named=address) as access:
        yield Nexus(access)


async def listed(api: NexusApi, repository: Repository = WEB, named: str = "") -> Listing:
    async with nexus(api, named=named) as service:
        return await service.listing(repository)


def fill(registry: NexusRegistry, number: int) -> dict[str, str]:
    return {f"1.{one:04}": hold_image(registry, WEB, f"1.{one:04}", seed=str(one)) for one in range(number)}


@pytest.mark.parametrize(("number", "requests"), [(3, 1), (50, 2), (250, 6), (260, 6)])
async def test_fifty_tags_take_one_request(registry: NexusRegistry, api: NexusApi, number: int, requests: int) -> None:
    digests = fill(registry, number)
    hold_image(registry, WEB, seed="untagged")

    found = await listed(api)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert len(api.requests) == requests
    assert len(registry.sent("HEAD", "/manifests/")) == 1
    assert registry.sent("GET", "/manifests/") == []


async def test_a_tag_has_what_nexus_says_of_it(registry: NexusRegistry, api: NexusApi) -> None:
    child = hold_image(registry, WEB, "2.0", seed="child")
    index = hold_index(registry, WEB, "1.0", "stable", children=[child])
    api.pushed[WEB, "stable"] = registry.now + DAY
    registry.downloaded[WEB, "1.0"] = registry.now + 2 * DAY

    found = await listed(api)

    one = entry(found, index)
    assert set(one.tags) == {"1.0", "stable"}
    assert (one.media_type, one.size, one.children) == (INDEX, None, None)
    assert one.pushed == registry.now + DAY
    assert one.pulled == registry.now + 2 * DAY
    assert (entry(found, child).media_type, entry(found, child).children) == (IMAGE, ())
    assert entry(found, child).pulled is None
    assert found.has_pulls
    assert "once in 12 hours" in found.doubts[0]
    assert "by digest" in found.doubts[1]


async def test_the_tag_that_is_compared_is_one_that_was_downloaded_last(registry: NexusRegistry, api: NexusApi) -> None:
    """The comparison may count as a download."""
    fill(registry, 20)
    registry.downloaded[WEB, "1.0007"] = registry.now

    await listed(api)

    assert registry.sent("HEAD", "/manifests/") == [f"/v2/{WEB}/manifests/1.0007"]
    assert registry.downloaded == {(WEB, "1.0007"): registry.now}


async def test_an_older_release_names_no_downloads(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 3)
    registry.downloaded[WEB, "1.0001"] = registry.now
    api.tells_downloads = False

    found = await listed(api)

    assert dict(found.tags) == digests
    assert not found.has_pulls
    assert "older releases" in found.doubts[0]


# --- pages


async def test_the_older_search_is_read_page_by_page(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 120)
    api.tokens = "opaque"
    assert dict((await listed(api)).tags) == digests


async def test_the_older_search_is_not_read_where_it_fails(
    registry: NexusRegistry, api: NexusApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(registry, 120)
    api.tokens = "opaque"
    monkeypatch.setattr(module, "_MOST_IN_ORDER", 100)
    with pytest.raises(NoListingError, match="no more than 100 tags"):
        await listed(api)
    assert len(api.requests) == 1


async def test_pages_that_repeat_themselves(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 30)
    api.tokens = "size"
    assert dict((await listed(api)).tags) == digests
    fill(registry, 120)
    with pytest.raises(NoListingError, match="do not follow each other"):
        await listed(api)


async def test_a_list_that_does_not_end(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 120)
    original = api.answer
    api.answer = lambda request: Answer(  # type: ignore[method-assign]
        200, original(request).body.replace(b'"50"', b'"token-0"').replace(b'"token-50"', b'"token-0"')
    )
    with pytest.raises(UnlistableError, match="does not end"):
        await listed(api)


async def test_tags_that_are_pushed_meanwhile_are_read_as_well(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 60)
    original = api.answer

    def answer(request: Request) -> Answer:
        digests.update(fill(registry, 120))
        return original(request)

    api.answer = answer  # type: ignore[method-assign]
    assert dict((await listed(api)).tags) == digests


# --- what is not complete, and whose list it is


async def test_an_index_that_lags_behind_is_not_complete(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 120)
    api.misses = {"1.0099"}
    assert not (await listed(api)).is_complete


async def test_other_images_of_a_similar_name_are_left_out(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 3)
    hold_image(registry, f"{WEB}-front", "1.0001", seed="front")
    hold_image(registry, f"{WEB}/front", "9.0", seed="front")

    found = await listed(api)

    assert dict(found.tags) == digests
    assert found.is_complete


async def test_another_repository_of_nexus_is_not_believed(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 3)
    with NexusRegistry() as other, NexusApi(other, "docker-other") as wrong:
        hold_image(other, WEB, "1.0001", seed="another")
        async with access_to(registry.url, "ann", "a-secret", named=ApiAddress(wrong.url, "docker-other")) as access:
            with pytest.raises(NoListingError, match="different digests"):
                await Nexus(access).listing(WEB)
    with pytest.raises(NoListingError, match="finds no shop/web in its repository docker-other"):
        await listed(api, named="docker-other")


async def test_two_members_of_a_group_may_have_the_same_tag(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 2)
    api.members = {"docker-proxy": {"1.0001": digests["1.0001"]}}
    assert dict((await listed(api)).tags) == digests
    api.members = {"docker-proxy": {"1.0001": digests["1.0000"]}}
    assert difference(await listed(api), [*digests], is_whole=True) == "it lists one tag at two manifests"  # type: ignore[list-item] # tags


async def test_the_name_may_begin_with_that_of_nexus_repository(registry: NexusRegistry, api: NexusApi) -> None:
    one = hold_image(registry, "docker-hosted/shop/web", "1.0", seed="one")
    api.prefix = "docker-hosted/"
    assert dict((await listed(api, Repository("docker-hosted/shop/web"))).tags) == {"1.0": one}


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_tag_whose_manifest_was_deleted(registry: NexusRegistry, api: NexusApi, forgets: bool) -> None:
    """The registry goes on listing it. Where the search does, too, that cannot be seen in the list."""
    digests = fill(registry, 3)
    del registry.repositories[WEB].manifests[digests["1.0001"]]
    registry.downloaded[WEB, "1.0001"] = registry.now  # the first that would be compared
    api.forgets = forgets

    found = await listed(api)

    assert found.may_dangle
    assert found.is_complete is not forgets
    assert ("1.0001" in found.tags) is not forgets


# --- the login


async def test_a_refused_login_says_so(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 1)
    registry.is_open = True
    async with nexus(api, secret="wrong") as service:
        with pytest.raises(NoListingError, match="does not accept the login"):
            await service.listing(WEB)


async def test_without_the_right_nothing_is_found(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 1)
    api.lets_in = False
    with pytest.raises(NoListingError, match="finds no shop/web"):
        await listed(api)


async def test_a_repository_may_be_open_to_everybody(registry: NexusRegistry, api: NexusApi) -> None:
    digests = fill(registry, 1)
    registry.is_open = True
    async with nexus(api, user="") as service:
        assert dict((await service.listing(WEB)).tags) == digests
    assert "authorization" not in api.requests[0].headers


async def test_a_redirect_of_the_search_takes_no_login_along(registry: NexusRegistry, api: NexusApi) -> None:
    fill(registry, 1)
    with Stranger(b'{"items": [], "continuationToken": null}') as stranger:
        api.answer = lambda request: Answer(307, headers={"Location": f"{stranger.url}{request.target}"})  # type: ignore[method-assign]
        with pytest.raises(NoListingError):
            await listed(api)
        assert [request.headers.get("authorization") for request in stranger.seen] == [None]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"items": 7}', b'{"items": [null]}', b'{"items": [{"format": "docker", "assets": 7}]}', b"<"],
)
async def test_nonsense_is_no_list(registry: NexusRegistry, api: NexusApi, body: bytes) -> None:
    fill(registry, 1)
    api.answer = lambda request: Answer(200, body)  # type: ignore[method-assign]
    with pytest.raises(NoListingError):
        await listed(api)
