"""Servers that are silent, and servers that are pleased to send a little now and then."""

from __future__ import annotations

import asyncio

import pytest

from dregutil.errors import OutcomeUnknownError, ProtocolError, UnreachableError
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry import ConnectOptions, connect, connect_writable
from servers.raw import answer, raw_server

REPOSITORY, DIGEST = Repository("r"), Digest(f"sha256:{'0' * 64}")
SOON = ConnectOptions(timeout=0.05)
PAUSE = 0.01  # seconds between two pieces of an answer: far less than the silence that is borne
MOST_PIECES = 2_000
LIST = b'{"name":"r","tags":["1.0"]}'


async def drip(writer: asyncio.StreamWriter, begin: bytes, piece: bytes) -> None:
    """Send piece after piece, until nobody listens any more."""
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


async def test_an_answer_that_drips_for_ever_is_given_up() -> None:
    async with raw_server(dripping) as server, connect(server.url, SOON) as registry:
        with pytest.raises(ProtocolError, match="not whole after 1 s"):
            await registry.tags(REPOSITORY)
        assert len(server.seen) == 1  # and is not asked for again


async def test_interim_answers_without_end_are_no_answer() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"", b"HTTP/1.1 102 Processing\r\n\r\n")

    async with raw_server(handler) as server, connect(server.url, SOON) as registry:
        with pytest.raises(UnreachableError, match="no answer within"):
            await registry.resolve(REPOSITORY, Tag("1.0"))


async def test_of_a_write_whose_answer_drips_nobody_knows_what_became() -> None:
    async with raw_server(dripping) as server, connect_writable(server.url, SOON) as registry:
        with pytest.raises(OutcomeUnknownError):
            await registry.delete_manifest(REPOSITORY, DIGEST)
        assert len(server.seen) == 1


async def test_a_long_answer_may_take_longer_than_a_silence() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LIST))
        for place in range(0, len(LIST), 4):
            writer.write(LIST[place : place + 4])
            await writer.drain()
            await asyncio.sleep(0.2)

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=1.0)) as registry:
        assert await registry.tags(REPOSITORY) == ("1.0",)


async def test_what_the_watch_ended_leaves_the_task_as_it_was() -> None:
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


async def test_who_cancels_an_exchange_is_obeyed() -> None:
    asked = asyncio.Event()

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=30)) as registry:
        task = asyncio.create_task(registry.tags(REPOSITORY))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
