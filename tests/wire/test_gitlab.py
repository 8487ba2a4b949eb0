"""GitLab's registry API, simulated (`servers/native/gitlab.py` names the source)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from dregutil.errors import NoListingError
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native.gitlab import GitLab, is_gitlab
from dregutil.registry.server_kind import Evidence
from native_access import access_to, hold_image, hold_index
from servers.native.gitlab import GitLabServer

WEB = Repository("group/project/web")
DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[GitLabServer]:
    with GitLabServer() as found:
        found.private.add(WEB)
        yield found


@asynccontextmanager
async def gitlab(server: GitLabServer, user: str = "ann") -> AsyncIterator[GitLab]:
    async with access_to(server.url, user, "a-secret" if user else "") as access:
        yield GitLab(access)


async def listed(server: GitLabServer, repository: Repository = WEB) -> Listing:
    async with gitlab(server) as service:
        return await service.listing(repository)


async def test_a_thousand_tags_take_one_request(server: GitLabServer) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(2100)}
    hold_image(server, WEB, seed="untagged")

    found = await listed(server)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert not found.has_pulls
    assert [call.partition("?")[0] for call in server.calls] == [f"/gitlab/v1/repositories/{WEB}/tags/list/"] * 3


async def test_a_tag_has_what_gitlab_says_of_it(server: GitLabServer) -> None:
    index = Digest(hold_index(server, WEB, "1.0", "stable", children=[hold_image(server, WEB, seed="child")]))
    server.changed[WEB, "stable"] = server.now + DAY

    found = await listed(server)

    (one,) = found.entries
    assert one.digest == index
    assert one.tags == ("1.0", "stable")
    assert one.media_type == "application/vnd.oci.image.index.v1+json"
    assert one.size == len(server.repositories[WEB].manifests[index].raw)
    assert one.pushed == server.now + DAY  # when its last tag was moved to it
    assert one.pulled is None
    assert one.children is None


async def test_a_tag_that_goes_between_two_pages_hides_no_other(server: GitLabServer) -> None:
    """A page begins after a tag, whether that is still there or not."""
    tags = [f"1.{number:04}" for number in range(1500)]
    for tag in tags:
        hold_image(server, WEB, tag, seed=tag)

    def remove(last: str) -> None:
        (server.repositories[WEB].tags or {}).pop(last, None)

    server.before_page = remove

    assert set((await listed(server)).tags) == set(tags)


async def test_without_a_database_no_repository_is_asked_for_again(server: GitLabServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.has_database = False
    with pytest.raises(NoListingError, match="no metadata database") as refused:
        await listed(server)
    assert refused.value.is_everywhere


async def test_an_unknown_repository_and_a_refused_login_say_so(server: GitLabServer) -> None:
    with pytest.raises(NoListingError, match="no such list") as unknown:
        await listed(server, Repository("group/none"))
    assert not unknown.value.is_everywhere
    hold_image(server, WEB, "1.0", seed="one")
    async with gitlab(server, "") as service:
        with pytest.raises(NoListingError) as refused:
            await service.listing(WEB)
    assert not refused.value.is_everywhere


async def test_a_tag_without_a_digest_makes_the_list_incomplete(
    server: GitLabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hold_image(server, WEB, "1.0", "2.0", seed="one")
    made = server._tag
    monkeypatch.setattr(server, "_tag", lambda *of: made(*of) | ({"digest": None} if of[1] == "2.0" else {}))

    found = await listed(server)

    assert dict(found.tags) == {Tag("1.0"): one}
    assert not found.is_complete


def test_gitlab_is_known_by_its_headers_and_its_token_server() -> None:
    address = RegistryAddress.parse("registry.example.com")
    version = {"gitlab-container-registry-version": "4.32.0-gitlab"}
    without = {**version, "gitlab-container-registry-database-enabled": "false"}
    assert is_gitlab(address, Evidence("registry.example.com", version))
    assert is_gitlab(address, Evidence("registry.example.com", {}, "https://gitlab.example.com/jwt/auth"))
    assert is_gitlab(address, Evidence("registry.gitlab.com"))
    assert not is_gitlab(address, Evidence("registry.example.com", without))
    assert not is_gitlab(address, Evidence("registry.example.com"))
