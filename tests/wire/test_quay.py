"""Quay's own API, simulated (`servers/native/quay.py` names the sources)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dregutil.errors import NoListingError
from dregutil.oci.listing import Listing
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry.native.quay import Quay, is_quay
from dregutil.registry.server_kind import Evidence
from native_access import access_to, entry, hold_image, hold_index
from servers.http import Answer
from servers.native.quay import QuayServer

WEB = Repository("shop/web")


@pytest.fixture
def server() -> Iterator[QuayServer]:
    with QuayServer() as found:
        yield found


async def listed(server: QuayServer, repository: Repository = WEB) -> Listing:
    async with access_to(server.url, "ann", "a secret of Quay") as access:
        return await Quay(access).listing(repository)


@pytest.mark.parametrize(("number", "requests"), [(3, 1), (100, 1), (250, 5), (1300, 13)])
async def test_a_hundred_tags_take_one_request(server: QuayServer, number: int, requests: int) -> None:
    digests = {f"1.{one}": hold_image(server, WEB, f"1.{one}", seed=str(one)) for one in range(number)}

    found = await listed(server)

    assert dict(found.tags) == digests
    assert found.is_complete
    assert not found.has_untagged
    assert len(server.calls) == requests  # a few pages may be asked for that are not there


async def test_a_tag_has_what_quay_says_of_it(server: QuayServer) -> None:
    child = hold_image(server, WEB, "2.0", seed="child")
    index = hold_index(server, WEB, "1.0", "stable", children=[child])
    server.pushed = {(WEB, "1.0"): 1_700_000_000, (WEB, "stable"): 1_750_000_000}
    server.immutable = {"1.0"}

    found = await listed(server)

    assert set(entry(found, index).tags) == {"1.0", "stable"}
    assert entry(found, index).pushed == datetime.fromtimestamp(1_750_000_000, UTC)
    assert entry(found, index).locked_tags == {"1.0": "it is immutable"}
    assert (entry(found, index).size, entry(found, index).children) == (None, None)
    assert (entry(found, child).size, entry(found, child).children) == (4100, ())


async def test_a_deletion_while_the_pages_are_read_makes_the_list_incomplete(server: QuayServer) -> None:
    for number in range(150):
        hold_image(server, WEB, f"1.{number}", seed=str(number))
        server.pushed[WEB, f"1.{number}"] = 1_750_000_000 - number
    server.before_page = lambda page: (server.repositories[WEB].tags or {}).pop("1.0", None) if page == 2 else None

    found = await listed(server)

    assert "1.100" not in found.tags
    assert not found.is_complete


async def test_no_password_is_sent_to_it(server: QuayServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    await listed(server)
    assert server.logins == [None]


async def test_a_private_repository_leaves_the_standard_way(server: QuayServer) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.private = {WEB}
    with pytest.raises(NoListingError, match="status 401") as raised:
        await listed(server)
    assert not raised.value.is_everywhere  # others may be public


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": []}', b'{"tags": 7, "has_additional": false}', b"<html>"])
async def test_nonsense_is_no_list(server: QuayServer, body: bytes) -> None:
    server._tags_page = lambda *_: Answer(200, body)  # type: ignore[method-assign]
    hold_image(server, WEB, "1.0", seed="one")
    with pytest.raises(NoListingError):
        await listed(server)


def test_quay_is_recognised() -> None:
    address = RegistryAddress.parse("quay.example")
    assert is_quay(address, Evidence("quay.example", {}, "https://quay.example/v2/auth"))
    assert is_quay(RegistryAddress.parse("quay.io"), Evidence("quay.io"))
    assert not is_quay(address, Evidence("quay.example"))
