"""GitHub's Packages API, simulated (`servers/native/github.py` names the sources)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest

from dregutil.errors import DeniedError, NoListingError, ProtocolError, PushedBackError, RegistryError
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native import github
from dregutil.registry.native.github import GitHub, is_github
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.points import Points
from dregutil.registry.server_kind import Evidence
from elsewhere import api_elsewhere
from native_access import access_to, hold_image, hold_index, listing_of, service_of
from servers.http import Answer, Stranger
from servers.native import github as github_sim
from servers.native.github import GhcrRegistry, GitHubApi
from servers.native.tokens import User

WEB = Repository("shop/web")
SECRET = "a-secret"


@pytest.fixture
def registry() -> Iterator[GhcrRegistry]:
    with GhcrRegistry() as found:
        yield found


@pytest.fixture
def api(registry: GhcrRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubApi]:
    with api_elsewhere(monkeypatch, registry, GitHubApi(registry), GitHub) as found:
        yield found


packages = partial(service_of, GitHub)
listed = partial(listing_of, GitHub, repository=WEB)


async def yes(_: tuple[Tag, ...]) -> bool:
    return True


def tags(registry: GhcrRegistry, repository: str = WEB) -> dict[str, str]:
    return dict(registry.repositories[repository].tags or {})


async def test_a_hundred_versions_take_one_request(registry: GhcrRegistry, api: GitHubApi) -> None:
    digests = {f"1.{number}": hold_image(registry, WEB, f"1.{number}", seed=str(number)) for number in range(250)}
    child = hold_image(registry, WEB, seed="child")
    digests["2.0"] = hold_index(registry, WEB, "2.0", children=[child])

    found = await listed(registry)

    assert dict(found.tags) == digests
    assert {entry.digest for entry in found.entries} == {child, *digests.values()}
    assert all(entry.pushed is not None and entry.size is None for entry in found.entries)
    assert found.is_complete
    assert found.has_untagged
    assert len([target for target in api.sent("GET") if "/versions?" in target]) == 3
    assert registry.requests == []


@pytest.mark.parametrize("number", [100, 200])
async def test_a_full_last_page_may_have_another_one(registry: GhcrRegistry, api: GitHubApi, number: int) -> None:
    for one in range(number):
        hold_image(registry, WEB, f"1.{one}", seed=str(one))
    assert len((await listed(registry)).entries) == number


async def test_a_slash_in_the_name_of_a_package_is_encoded(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, "shop/team/web", "1.0", seed="one")
    assert dict((await listed(registry, repository=Repository("shop/team/web"))).tags) == {"1.0": one}
    assert any(target.startswith("/orgs/shop/packages/container/team%2Fweb/versions?") for target in api.sent("GET"))


async def test_private_packages_of_the_token_s_own_user(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, "ann/web", "1.0", seed="one")
    registry.private.add("ann/web")
    assert dict((await listed(registry, repository=Repository("ann/web"))).tags) == {"1.0": one}
    assert any(target.startswith("/user/packages/") for target in api.sent("GET"))


async def test_another_user_s_package_is_never_mistaken_for_one_s_own(registry: GhcrRegistry, api: GitHubApi) -> None:
    """`/user` is the owner of the token, who may have a package of the same name, with the same images."""
    same = [hold_image(registry, f"{owner}/web", "1.0", seed="one") for owner in ("ann", "bob")]
    for owner in ("ann", "bob"):
        hold_image(registry, f"{owner}/web", "2.0", seed="two")

    async with packages(registry) as service:
        assert await service.delete_manifest(Repository("bob/web"), Digest(same[0]))

    assert tags(registry, "ann/web").keys() == {"1.0", "2.0"}
    assert tags(registry, "bob/web").keys() == {"2.0"}
    registry.private.add("bob/web")
    async with packages(registry) as service:
        with pytest.raises(NoListingError):
            await service.delete_manifest(Repository("bob/web"), Digest(same[0]))
    assert tags(registry, "ann/web").keys() == {"1.0", "2.0"}


async def test_the_login_is_a_classic_token(registry: GhcrRegistry, api: GitHubApi) -> None:
    hold_image(registry, WEB, "1.0", seed="one")
    with pytest.raises(NoListingError, match="wants a login") as raised:
        await listed(registry, user="")
    assert raised.value.is_everywhere
    assert api.requests == []
    registry.users["fine"] = User("github_pat_fine")
    async with packages(registry, "fine", "github_pat_fine") as service:
        with pytest.raises(NoListingError, match="status 403: Resource not accessible by personal access token"):
            await service.listing(WEB)


async def test_a_version_goes_with_its_tags(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", "stable", seed="one")
    two = hold_image(registry, WEB, "2.0", seed="two")
    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
        assert not await service.delete_manifest(WEB, Digest(one))
    assert tags(registry) == {"2.0": two}


async def test_after_a_listing_a_deletion_is_one_request(registry: GhcrRegistry, api: GitHubApi) -> None:
    digests = [hold_image(registry, WEB, f"1.{number}", seed=str(number)) for number in range(120)]
    async with packages(registry) as service:
        await service.listing(WEB)
        before = len(api.requests)
        for digest in digests[:50]:
            assert await service.delete_manifest(WEB, Digest(digest))
    assert len(api.requests) == before + 50


async def test_a_digest_that_was_pushed_again_is_another_version(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    async with packages(registry) as service:
        await service.listing(WEB)
        async with packages(registry) as other:
            assert await other.delete_manifest(WEB, Digest(one))
        hold_image(registry, WEB, "1.0", seed="one")
        assert await service.delete_manifest(WEB, Digest(one))
    assert tags(registry).keys() == {"2.0"}


async def test_a_new_version_may_be_listed_late(
    registry: GhcrRegistry, api: GitHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_image(registry, WEB, "2.0", seed="two")
    one = hold_image(registry, WEB, "1.0", seed="one")
    api.lags = 1
    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
    assert tags(registry).keys() == {"2.0"}


async def test_a_package_that_is_not_found_for_a_moment(registry: GhcrRegistry, api: GitHubApi) -> None:
    one, two = (hold_image(registry, WEB, tag, seed=tag) for tag in ("1.0", "2.0"))
    hold_image(registry, WEB, "3.0", seed="three")
    api.loses_package = 2
    async with packages(registry) as service:
        await service.listing(WEB)
        assert await service.delete_manifest(WEB, Digest(one))
        assert await service.delete_manifest(WEB, Digest(two))
        api.loses_package = api._lost = 100
        with pytest.raises(NoListingError, match="Package not found"):
            await service.delete_manifest(WEB, Digest(two))
    assert tags(registry).keys() == {"3.0"}


async def test_what_github_refuses_is_said(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, seed="untagged")
    registry.users["bob"] = User("b-secret", frozenset(("pull", "push")))
    async with packages(registry) as service:
        with pytest.raises(RegistryError, match="the last tagged version"):
            await service.delete_manifest(WEB, Digest(one))
        hold_image(registry, WEB, "2.0", seed="two")
        api.downloads[WEB] = 5001
        with pytest.raises(RegistryError, match="more than 5000 downloads"):
            await service.delete_manifest(WEB, Digest(one))
    async with packages(registry, "bob", "b-secret") as service:
        with pytest.raises(DeniedError, match="Must have admin rights") as raised:
            await service.delete_manifest(WEB, Digest(one))
    assert "classic personal access token" in (raised.value.advice or "")
    assert tags(registry).keys() == {"1.0", "2.0"}


async def test_one_who_reads_deletes_nothing(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    async with access_to(registry.url, "ann", SECRET) as access:
        with pytest.raises(ProtocolError, match="sends no DELETE"):
            await GitHub(access).delete_manifest(WEB, Digest(one))
        api.deleted[7] = _deleted_of(registry, one)
        api._created[7] = 0.0
        with pytest.raises(ProtocolError, match="sends no POST"):
            await GitHub(access).restore(WEB, Digest(one), yes)
    assert api.sent("DELETE") == api.sent("POST") == []


def _deleted_of(registry: GhcrRegistry, digest: str) -> github_sim._Deleted:
    return github_sim._Deleted(WEB, registry.repositories[WEB].manifests[digest], ("1.0",), time.time())


# --- what was deleted comes back


async def test_a_version_is_restored_with_its_tags(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", "stable", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    asked: list[tuple[Tag, ...]] = []

    async def may_return(found: tuple[Tag, ...]) -> bool:
        asked.append(found)
        return True

    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
        assert await service.restore(WEB, Digest(one), may_return)
        assert not await service.restore(WEB, Digest(one), may_return)
        assert await service.delete_manifest(WEB, Digest(one))
    assert asked == [("1.0", "stable")]


async def test_one_list_of_deleted_versions_serves_many(registry: GhcrRegistry, api: GitHubApi) -> None:
    digests = [hold_image(registry, WEB, f"1.{number}", seed=str(number)) for number in range(30)]
    before = tags(registry)
    async with packages(registry) as service:
        for digest in digests[:20]:
            assert await service.delete_manifest(WEB, Digest(digest))
        for digest in digests[:20]:
            assert await service.restore(WEB, Digest(digest), yes)
        for digest in digests:
            assert not await service.restore(WEB, Digest(digest), yes)
        assert len([target for target in api.sent("GET") if "state=deleted" in target]) == 1
        for digest in digests[:2]:  # what has just been deleted is seen
            assert await service.delete_manifest(WEB, Digest(digest))
            assert await service.restore(WEB, Digest(digest), yes)
    assert tags(registry) == before


async def test_tags_that_name_another_image_are_not_taken_back(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    two = hold_image(registry, WEB, "2.0", seed="two")

    async def no(_: tuple[Tag, ...]) -> bool:
        return False

    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
        assert not await service.restore(WEB, Digest(one), no)
    assert api.sent("POST") == []
    assert tags(registry) == {"2.0": two}


async def test_after_thirty_days_nothing_is_restored(registry: GhcrRegistry, api: GitHubApi) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
        api.age(31)
        assert not await service.restore(WEB, Digest(one), yes)


# --- limits


async def test_the_secondary_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal clock
        assert seconds > 0
        clock += seconds

    points = Points(900, now=lambda: clock, sleep=sleep)
    sent = []
    for _ in range(600):
        await points.spend(5)
        sent.append(clock)

    for start in sent:
        assert len([at for at in sent if start <= at < start + 60]) <= 180
    assert clock < 600 / 162 * 60


@pytest.mark.parametrize("status", [403, 429])
async def test_a_limit_that_is_met_all_the_same_is_waited_for(
    registry: GhcrRegistry, api: GitHubApi, status: int
) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    api.limited = status
    api.deletions = [time.time() - 59.0] * 180  # by another client
    async with packages(registry) as service:
        assert await service.delete_manifest(WEB, Digest(one))
    assert len(api.sent("DELETE")) >= 2


async def test_what_is_pushed_back_for_too_long_is_looked_at_again(
    registry: GhcrRegistry, api: GitHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hold_image(registry, WEB, "1.0", seed="one")
    hold_image(registry, WEB, "2.0", seed="two")
    api.deletions = [time.time()] * 180
    monkeypatch.setattr(github, "_FRESH", 0.5)
    async with packages(registry) as service:
        with pytest.raises(PushedBackError):
            await service.delete_manifest(WEB, Digest(one))
    assert tags(registry).keys() == {"1.0", "2.0"}


# --- where the token goes


async def test_the_last_page_is_a_number_and_no_address(registry: GhcrRegistry, api: GitHubApi) -> None:
    for one in range(250):
        hold_image(registry, WEB, f"1.{one}", seed=str(one))
    with Stranger(b"[]") as stranger:
        api.last_host = stranger.url
        assert len((await listed(registry)).entries) == 250
        assert stranger.seen == []


async def test_a_password_for_digest_authentication_is_not_sent(registry: GhcrRegistry, api: GitHubApi) -> None:
    hold_image(registry, WEB, "1.0", seed="one")
    async with access_to(registry.url, "ann", SECRET, digest_auth=True) as access:
        with pytest.raises(NoListingError, match="wants a login"):
            await GitHub(access).listing(WEB)
    assert api.requests == []


def test_the_exact_name_has_the_api() -> None:
    address = RegistryAddress.parse("ghcr.io")
    assert is_github(address, Evidence(address.host))
    assert other_host(address) == "https://api.github.com"


@pytest.mark.parametrize(
    "name", ["ghcr.io.example", "xghcr.io", "ghcr.io:5000", "a.ghcr.io", "http://ghcr.io", "ghcr.io/x"]
)
def test_no_other_name_has_it(name: str) -> None:
    address = RegistryAddress.parse(name)
    assert not is_github(address, Evidence(address.host, realm="https://ghcr.io/token", service="ghcr.io"))
    assert other_host(address) != "https://api.github.com"


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', b"[7]", b'"x"', b"<html>"])
async def test_nonsense_is_no_list(registry: GhcrRegistry, api: GitHubApi, body: bytes) -> None:
    api._versions = lambda *_: Answer(200, body)  # type: ignore[method-assign]
    hold_image(registry, WEB, "1.0", seed="one")
    with pytest.raises(NoListingError):
        await listed(registry)
