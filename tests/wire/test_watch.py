"""Servers that are silent, and servers that send a little from time to time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from dregutil.errors import OutcomeUnknownError, ProtocolError, UnreachableError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry import ConnectOptions, connect, connect_writable
from images import Pusher
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer
from servers.raw import answer, raw_server

REPOSITORY, DIGEST = Repository("r"), Digest(f"sha256:{'0' * 64}")
SOON = ConnectOptions(timeout=0.05)
PAUSE = 0.01  # seconds between two pieces of an answer: far less than the timeout
MOST_PIECES = 2_000
LIST = b'{"name":"r","tags":["1.0"]}'


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as found:
        yield found


async def drip(writer: asyncio.StreamWriter, begin: bytes, piece: bytes) -> None:
    """Send piece after piece, until the client disconnects."""
    try:
        writer.write(begin)
        for _ in range(MOST_PIECES):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(PAUSE)
    except ConnectionError:
        pass


async def dripping(_: str, writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ")


async def test_an_endlessly_slow_answer_is_given_up() -> None:
    async with raw_server(dripping) as server, connect(server.url, SOON) as registry:
        with pytest.raises(ProtocolError, match="incomplete after 1 s"):
            await registry.tags(REPOSITORY)
        assert len(server.seen) == 1  # and is not requested again


async def test_endless_interim_responses_are_not_an_answer() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"", b"HTTP/1.1 102 Processing\r\n\r\n")

    async with raw_server(handler) as server, connect(server.url, SOON) as registry:
        with pytest.raises(UnreachableError, match="no answer within"):
            await registry.resolve(REPOSITORY, Tag("1.0"))


async def test_the_outcome_of_a_write_with_a_slow_answer_is_unknown() -> None:
    async with raw_server(dripping) as server, connect_writable(server.url, SOON) as registry:
        with pytest.raises(OutcomeUnknownError):
            await registry.delete_manifest(REPOSITORY, DIGEST)
        assert len(server.seen) == 1


async def test_a_long_answer_may_take_longer_than_the_timeout() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LIST))
        for place in range(0, len(LIST), 4):
            writer.write(LIST[place : place + 4])
            await writer.drain()
            await asyncio.sleep(0.2)

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=1.0)) as registry:
        assert await registry.tags(REPOSITORY) == ("1.0",)


async def test_the_head_of_an_answer_counts_as_progress() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LIST))
        await writer.drain()
        await asyncio.sleep(0.6)
        writer.write(LIST)

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=1.0)) as registry:
        assert await registry.tags(REPOSITORY) == ("1.0",)
        assert len(server.seen) == 1


async def test_a_suspended_program_reads_what_arrived_meanwhile(memory: MemoryServer) -> None:
    """As after Ctrl-Z: nothing was received for longer than the timeout, and the answer to a write has arrived."""
    asked, stopped, answered = threading.Event(), threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.method == "PUT":
            asked.set()
            stopped.wait()

    def tell(request: Request, found: Answer) -> Answer:
        if request.method == "PUT":
            answered.set()
        return found

    with Proxy(memory.port, before=hold, after=tell) as proxy, Pusher(memory.url) as pusher:
        found = pusher.push_image("r", "1.0", seed="1")
        async with connect_writable(proxy.url, ConnectOptions(timeout=1.0)) as registry:
            manifest = await registry.manifest(REPOSITORY, Digest(found["digest"]))
            assert manifest is not None
            put = asyncio.create_task(registry.put_manifest(REPOSITORY, Tag("1.1"), manifest.raw, manifest.media_type))
            await asyncio.to_thread(asked.wait)
            stopped.set()
            answered.wait()
            time.sleep(1.5)  # noqa: ASYNC251 - the whole program stands still
            await put
    assert memory.repositories["r"].tags == {"1.0": found["digest"], "1.1": found["digest"]}


async def test_a_deadline_leaves_the_task_uncancelled() -> None:
    silent = True

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        if not silent:
            writer.write(answer("200 OK", body=LIST))

    async with raw_server(handler) as server, connect(server.url, SOON) as registry:
        with pytest.raises(UnreachableError, match="no answer within"):
            await registry.tags(REPOSITORY)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        silent = False
        assert await registry.tags(REPOSITORY) == ("1.0",)


async def test_a_cancelled_exchange_stays_cancelled() -> None:
    asked = asyncio.Event()

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=30)) as registry:
        task = asyncio.create_task(registry.tags(REPOSITORY))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
