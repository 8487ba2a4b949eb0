"""A write is asked for its permit before it gets a connection, and once it has one; each alone is enough to stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from dregutil.apply.run import Run
from dregutil.errors import LeaseLostError, StoreError
from dregutil.inventory.known import Known
from dregutil.oci.manifest import OCI_MANIFEST
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan
from dregutil.plan.outcome import NoRecorder
from dregutil.registry import WritableRegistry, connect_writable
from dregutil.registry.permit import permitted
from dregutil.retention.holds import Holds
from servers.raw import answer, raw_server

REPOSITORY, DIGEST = Repository("r"), Digest(f"sha256:{'0' * 64}")
WRITES: list[Callable[[WritableRegistry], Awaitable[object]]] = [
    lambda found: found.delete_manifest(REPOSITORY, DIGEST),
    lambda found: found.delete_tag(REPOSITORY, Tag("1.0")),
    lambda found: found.put_manifest(REPOSITORY, Tag("1.0"), b"{}", OCI_MANIFEST),
    lambda found: found.put_manifest(REPOSITORY, DIGEST, b"{}", OCI_MANIFEST),
    lambda found: found.put_blob(REPOSITORY, b"{}"),
]


class Permit:
    """Permits so many questions."""

    def __init__(self, left: int) -> None:
        self.left = left

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseLostError("the lease is over")


async def accept(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("202 Accepted"))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("asked", "connections"), [(0, 0), (1, 1)])
async def test_a_write_that_is_no_longer_permitted_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[WritableRegistry], Awaitable[object]],
    asked: int,
    connections: int,
) -> None:
    connect, made = aiohttp.TCPConnector.connect, 0

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        return await connect(*arguments, **options)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", counted)
    async with raw_server(accept) as server, connect_writable(server.url) as registry:
        with permitted(Permit(asked)), pytest.raises(LeaseLostError):
            await write(registry)
        assert server.seen == []
        assert made == connections


async def test_reads_need_no_permit() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", "Content-Type: application/json", body=b'{"tags": ["1.0"]}'))

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        with permitted(Permit(0)):
            assert await registry.tags(REPOSITORY) == ("1.0",)


async def test_whoever_waits_for_a_store_that_is_away_gives_up_with_the_lease() -> None:
    async with raw_server(accept) as server, connect_writable(server.url) as registry:
        run = Run(registry, Plan(server.url, datetime.now(UTC), "", ()), Known(), NoRecorder(), lambda _: None)
        asked = 0

        async def away() -> Holds:
            nonlocal asked
            asked += 1
            assert asked < 10, "it goes on without its permit"
            error = StoreError("the store is away")
            error.may_repeat = True
            raise error

        run.holds = away
        with permitted(Permit(2)), pytest.raises(LeaseLostError):
            await run.current_holds()
        assert asked == 3
