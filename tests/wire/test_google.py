"""Google's list of manifests, simulated (`servers/native/google.py` names the sources)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import NoListingError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.registry import reader
from dregutil.registry.native import services
from dregutil.registry.native.google import Google, is_google
from dregutil.registry.native.services import Candidate
from dregutil.registry.server_kind import Evidence
from images import IMAGE, INDEX
from native_access import access_to, hold_image, hold_index
from servers.native.google import GoogleServer

WEB = Repository("project/shop/web")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    with GoogleServer() as found:
        here = Candidate(lambda address, _: address.netloc == found.host, Google)
        monkeypatch.setattr(services, "CANDIDATES", [here])
        monkeypatch.setattr(reader, "is_google", lambda address: address.netloc == found.host)
        yield found


async def listed(server: GoogleServer) -> Listing:
    async with access_to(server.url) as access:
        return await Google(access).listing(WEB)


def test_it_is_known_by_its_host_alone() -> None:
    def fits(name: str) -> bool:
        address = RegistryAddress.parse(name)
        return is_google(address, Evidence(address.host))

    assert all(map(fits, ("europe-west1-docker.pkg.dev", "us-docker.pkg.dev", "gcr.io", "eu.gcr.io")))
    assert not any(map(fits, ("gcr.io.example.com", "docker.pkg.dev.example.com", "notgcr.io", "pkg.dev")))


async def test_one_request_lists_everything_that_is_known_of_a_manifest(server: GoogleServer) -> None:
    image = hold_image(server, WEB, "1.0", "latest", seed="one")
    untagged = hold_image(server, WEB, seed="two")
    index = hold_index(server, WEB, "all", children=[image])
    server.children = ["tools"]

    found = await listed(server)

    stored = server.repositories[WEB].manifests[image]
    assert found.is_complete
    assert found.has_untagged
    assert not found.has_pulls
    assert found.entries[:2] == (
        Entry(Digest(image), found.entries[0].tags, IMAGE, len(stored.raw), pushed=server.now),
        Entry(Digest(untagged), (), IMAGE, len(server.repositories[WEB].manifests[untagged].raw), pushed=server.now),
    )
    assert set(found.entries[0].tags) == {"1.0", "latest"}
    assert found.entries[2] == Entry(Digest(index), found.entries[2].tags, INDEX, None, pushed=server.now)
    assert [target.partition("?")[2] for target in server.asked] == ["n=10000"]


async def test_what_is_zero_or_nonsense_is_not_known(server: GoogleServer) -> None:
    image = hold_image(server, WEB, "1.0", seed="one")
    server.also[image] = {"timeUploadedMs": "0", "imageSizeBytes": "many"}

    assert (await listed(server)).entries == (Entry(Digest(image), found_tags("1.0"), IMAGE),)


def found_tags(*names: str) -> tuple[dregutil.Tag, ...]:
    return tuple(dregutil.Tag(name) for name in names)


async def test_ten_thousand_may_be_cut(server: GoogleServer) -> None:
    for number in range(10_000):
        hold_image(server, WEB, f"1.{number}", seed="the same")

    assert not (await listed(server)).is_complete
    (server.repositories[WEB].tags or {}).pop("1.0")
    assert (await listed(server)).is_complete


async def test_manifests_with_other_tags_than_the_list_are_no_listing(server: GoogleServer) -> None:
    image = hold_image(server, WEB, "1.0", "2.0", seed="one")
    server.also[image] = {"tag": ["1.0"]}

    with pytest.raises(NoListingError, match="its manifests have other tags than those that it lists"):
        await listed(server)


@pytest.mark.parametrize("about", [None, "text", []])
async def test_another_form_is_no_listing(server: GoogleServer, about: object) -> None:
    image = hold_image(server, WEB, "1.0", seed="one")
    server.describes = about is not None
    server.also[image] = {"tag": about}

    with pytest.raises(NoListingError):
        await listed(server)


def test_two_requests_read_the_tags_of_a_repository(server: GoogleServer, tmp_path: Path) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(2500)}

    with dregutil.open(server.url, state_dir=tmp_path, contents=None) as registry:
        found = registry.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == digests
    assert [*found.listings] == [WEB]
    assert [target.partition("?")[2].partition("&")[0] for target in server.asked] == ["n=10000", "n=10000"]


def test_a_list_that_google_ends_is_not_taken_for_whole(server: GoogleServer, tmp_path: Path) -> None:
    """Whether it honours `last` is not known: here it does not, and the tags beyond are never seen."""
    for number in range(10_001):
        hold_image(server, WEB, f"1.{number}", seed="the same")

    with dregutil.open(server.url, state_dir=tmp_path, contents=None) as registry:
        found = registry.crawl(WEB)

    assert str(found.failed[WEB]) == (
        "could not list the tags of project/shop/web: the registry ends its list after 10,000 names"
    )
