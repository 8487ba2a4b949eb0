"""A single broken connection ends neither a listing nor a removal before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dregutil.errors import UnreachableError
from dregutil.inventory.crawl import crawl
from dregutil.oci.names import Repository
from dregutil.plan.outcome import Result
from dregutil.registry import ConnectOptions, connect
from images import Pusher
from removing import Removing, results
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request
from servers.raw import answer, raw_server


def lost(times: int, matches: Callable[[Request], bool]) -> Callable[[Request], Answer | None]:
    left = [LOST] * times
    return lambda request: left.pop() if left and matches(request) else None


async def test_the_very_first_request_is_sent_again(registry_server: DistributionServer, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    with Proxy(registry_server.port, before=lost(2, lambda _: True)) as proxy:
        async with connect(proxy.url) as registry:
            found = (await crawl(registry)).inventory
    assert found.as_mapping() == {"r": {"1.0": image["digest"]}}


async def test_a_first_request_that_is_not_answered_is_sent_again() -> None:
    """Only a connection that cannot be made fails at once."""

    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        if len(server.seen) > 2:  # the first two wait in vain
            writer.write(answer("200 OK", "Content-Type: application/json", body=b'{"name": "r", "tags": ["1.0"]}'))

    async with raw_server(handle) as server, connect(server.url, ConnectOptions(timeout=0.3)) as registry:
        assert await registry.tags(Repository("r")) == ("1.0",)
        assert len(server.seen) == 3


async def test_a_server_that_always_breaks_connections_is_given_up_soon(registry_server: DistributionServer) -> None:
    with Proxy(registry_server.port, before=lambda _: LOST) as proxy:
        async with connect(proxy.url) as registry:
            with pytest.raises(UnreachableError):
                await registry.tags(Repository("r"))
        assert len(proxy.requests) == 3


@pytest.mark.parametrize("times", [1, 2])
async def test_the_preflight_deletion_is_sent_again(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, times: int
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    with Proxy(registry_server.port, before=lost(times, lambda request: request.method == "DELETE")) as proxy:
        assert results(await Removing(proxy.url, tmp_path).remove("1.0")) == [Result.REMOVED]
        assert len(set(proxy.sent("DELETE"))) == times + 2
    assert set(pusher.tags("r")) == {"2.0"}


async def test_without_an_answer_to_the_preflight_nothing_is_removed(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    with (
        Proxy(registry_server.port, before=lost(9, lambda request: request.method == "DELETE")) as proxy,
        pytest.raises(UnreachableError, match="nothing was removed"),
    ):
        await Removing(proxy.url, tmp_path).remove("1.0")
    assert set(pusher.tags("r")) == {"1.0"}


async def test_a_port_without_a_listener_is_reported_at_once() -> None:
    async with asyncio.timeout(5), connect("http://127.0.0.1:9") as registry:
        with pytest.raises(UnreachableError):
            await registry.ping()
