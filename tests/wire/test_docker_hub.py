"""Docker Hub's own API, simulated (`servers/native/hub.py` names the sources)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from dregutil.errors import DeniedError, NoListingError, OutcomeUnknownError, ProtocolError
from dregutil.oci.names import RegistryAddress, Repository, Tag
from dregutil.registry.http.retry import asked_wait
from dregutil.registry.native.docker_hub import CRAWLED, DockerHub, is_docker_hub
from dregutil.registry.native.hosts import other_host
from dregutil.registry.server_kind import Evidence
from elsewhere import api_elsewhere
from images import INDEX
from native_access import access_to, hold_image, hold_index, listing_of, service_of
from servers.http import Answer, Stranger
from servers.native.hub import HubApi, HubRegistry
from servers.native.tokens import User

WEB = Repository("shop/web")
SECRET = "a-secret"


@pytest.fixture
def registry() -> Iterator[HubRegistry]:
    with HubRegistry() as found:
        yield found


@pytest.fixture
def api(registry: HubRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubApi]:
    with api_elsewhere(monkeypatch, registry, HubApi(registry), DockerHub) as found:
        yield found


hub = partial(service_of, DockerHub)
listed = partial(listing_of, DockerHub, repository=WEB)


def fill(registry: HubRegistry, number: int) -> dict[str, str]:
    return {f"1.{one}": hold_image(registry, WEB, f"1.{one}", seed=str(one)) for one in range(number)}


async def test_a_hundred_tags_take_one_request_and_no_manifest_is_read(registry: HubRegistry, api: HubApi) -> None:
    digests = fill(registry, 250)

    found = await listed(registry)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert len(api.sent("GET")) == 3
    assert all("page_size=100" in target for target in api.sent("GET"))
    assert registry.pulls == []
    assert registry.requests == []


async def test_a_tag_of_an_index_names_the_index(registry: HubRegistry, api: HubApi) -> None:
    child = hold_image(registry, WEB, seed="one")
    index = hold_index(registry, WEB, "1.0", "stable", children=[child])
    registry.pushed[WEB, "1.0"], registry.pushed[WEB, "stable"] = 1_700_000_000, 1_750_000_000

    (entry,) = (await listed(registry)).entries

    assert (entry.digest, set(entry.tags), entry.media_type) == (index, {"1.0", "stable"}, INDEX)
    assert entry.pushed == datetime.fromtimestamp(1_750_000_000, UTC)
    assert entry.children is None


async def test_pull_times_come_with_a_warning(registry: HubRegistry, api: HubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    api.crawled = "2026-01-02T03:04:05.6Z"

    found = await listed(registry)

    assert {entry.pulled for entry in found.entries} == {datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)}
    assert CRAWLED in found.doubts
    assert not found.has_pulls
    assert found.tags[Tag("1.0")] == one


@pytest.mark.parametrize("why", ["last page", "hidden", "no digest"])
async def test_what_the_service_counts_and_does_not_list_is_missing(
    registry: HubRegistry, api: HubApi, why: str
) -> None:
    fill(registry, 250)
    if why == "last page":
        api.last_page = 2
    elif why == "hidden":
        api.hidden = {"1.7"}
    else:
        api.without_digest = {"1.7", "1.8"}

    found = await listed(registry)

    assert not found.is_complete
    assert (
        found.doubts[1:]
        == {
            "last page": ("Docker Hub listed 200 tags, and counts 250",),
            "hidden": ("Docker Hub listed 249 tags, and counts 250",),
            "no digest": ("Docker Hub does not say what 2 tags name",),
        }[why]
        or why == "last page"
    )


async def test_a_public_repository_is_listed_without_a_login(registry: HubRegistry, api: HubApi) -> None:
    digests = fill(registry, 2)
    registry.private.add("shop/secret")
    hold_image(registry, "shop/secret", "1.0", seed="one")

    assert dict((await listed(registry, user="")).tags) == digests
    assert api.logins == []
    with pytest.raises(NoListingError, match="status 404"):
        await listed(registry, repository=Repository("shop/secret"), user="")
    assert (await listed(registry, repository=Repository("shop/secret"))).is_complete


async def test_a_login_that_the_api_refuses_leaves_the_standard_way(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 1)
    async with hub(registry, "ann", "another secret") as service:
        with pytest.raises(NoListingError, match="did not accept the login 'ann'") as raised:
            await service.listing(WEB)
    assert raised.value.is_everywhere
    assert "another secret" not in str(raised.value)


async def test_the_password_is_exchanged_once(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 250)
    async with hub(registry) as service:
        await service.listing(WEB)
        await service.delete_tag(WEB, Tag("1.0"))
    assert api.logins == [("ann", SECRET)]
    assert not any(SECRET in request.target for request in api.requests)


async def test_an_expired_token_is_fetched_again(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 2)
    async with hub(registry) as service:
        await service.listing(WEB)
        api._tokens.clear()
        assert await service.delete_tag(WEB, Tag("1.0"))
    assert len(api.logins) == 2


async def test_a_tag_goes_alone(registry: HubRegistry, api: HubApi) -> None:
    digest = hold_image(registry, WEB, "1.0", "stable", seed="one")
    async with hub(registry) as service:
        assert await service.delete_tag(WEB, Tag("1.0"))
        assert not await service.delete_tag(WEB, Tag("1.0"))
    assert registry.repositories[WEB].tags == {"stable": digest}
    assert digest in registry.repositories[WEB].manifests


async def test_one_who_reads_deletes_nothing(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 1)
    async with access_to(registry.url, "ann", SECRET) as access:
        with pytest.raises(ProtocolError, match="sends no DELETE"):
            await DockerHub(access).delete_tag(WEB, Tag("1.0"))
    assert api.sent("DELETE") == []


async def test_missing_rights_are_said(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 1)
    registry.users["bob"] = User("b-secret", frozenset(("pull", "push")))
    async with hub(registry, "bob", "b-secret") as service:
        with pytest.raises(DeniedError, match="status 403"):
            await service.delete_tag(WEB, Tag("1.0"))
        api.no_rights = 500
        with pytest.raises(OutcomeUnknownError, match="may answer like this to a login that may not delete"):
            await service.delete_tag(WEB, Tag("1.0"))
    async with hub(registry, "") as service:
        with pytest.raises(DeniedError, match="needs a login"):
            await service.delete_tag(WEB, Tag("1.0"))
    assert "1.0" in (registry.repositories[WEB].tags or {})


async def test_a_limit_says_until_when_by_a_time(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 2)
    api.refuses, api.wait = 1, 1
    async with hub(registry) as service:
        assert (await service.listing(WEB)).is_complete
        api.refuses = 1
        assert await service.delete_tag(WEB, Tag("1.0"))
    assert len(api.sent("DELETE")) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-Retry-After": "1000007"}, 7),
        ({"X-Retry-After": "9000000"}, 60),
        ({"X-Retry-After": "17"}, 0),
        ({"Retry-After": "3", "X-Retry-After": "1000007"}, 3),
        ({"X-Retry-After": "soon"}, None),
        ({"X-Retry-After": "9" * 400}, 60),
        ({}, None),
    ],
)
def test_the_wait_in_seconds_and_as_a_time(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, datetime.fromtimestamp(1_000_000, UTC)) == seconds


# --- where the password goes


async def test_the_next_page_is_not_sought_where_an_answer_says(registry: HubRegistry, api: HubApi) -> None:
    digests = fill(registry, 250)
    with Stranger(b'{"count": 0, "next": null, "results": []}') as stranger:
        api.next_host = stranger.url
        assert dict((await listed(registry)).tags) == digests
        assert stranger.seen == []


async def test_a_redirect_takes_no_token_along(registry: HubRegistry, api: HubApi) -> None:
    fill(registry, 1)
    with Stranger(b'{"count": 0, "next": null, "results": []}') as stranger:
        original = api._answer
        api._answer = lambda request: (  # type: ignore[method-assign]
            original(request)
            if request.method == "POST"
            else Answer(307, headers={"Location": f"{stranger.url}{request.target}"})
        )
        await listed(registry)
        assert [request.headers.get("authorization") for request in stranger.seen] == [None]


async def test_a_password_for_digest_authentication_is_not_sent(registry: HubRegistry, api: HubApi) -> None:
    digests = fill(registry, 1)
    async with access_to(registry.url, "ann", SECRET, digest_auth=True) as access:
        assert dict((await DockerHub(access).listing(WEB)).tags) == digests
        with pytest.raises(DeniedError, match="needs a login"):
            await DockerHub(access).writing().delete_tag(WEB, Tag("1.0"))
    assert api.logins == []


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io", "https://docker.io"])
def test_the_exact_name_has_the_api(name: str) -> None:
    address = RegistryAddress.parse(name)
    assert is_docker_hub(address, Evidence(address.host))
    assert other_host(address) == "https://hub.docker.com"


@pytest.mark.parametrize(
    "name",
    [
        "hub.example",
        "docker.io.example",
        "xdocker.io",
        "docker.io:5000",
        "a.docker.io",
        "http://docker.io",
        "docker.io/x",
    ],
)
def test_no_other_name_has_it(name: str) -> None:
    address = RegistryAddress.parse(name)
    evidence = Evidence(address.host, realm="https://auth.docker.io/token", service="registry.docker.io")
    assert not is_docker_hub(address, evidence)
    assert other_host(address) != "https://hub.docker.com"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"count": "x"}', b'{"count": 1, "results": 7}', b'{"count": 1, "results": [null]}', b"<html>"],
)
async def test_nonsense_is_no_list(registry: HubRegistry, api: HubApi, body: bytes) -> None:
    api._answer = lambda request: Answer(200, body if request.method == "GET" else b'{"access_token": "x"}')  # type: ignore[method-assign]
    with pytest.raises(NoListingError):
        await listed(registry)
