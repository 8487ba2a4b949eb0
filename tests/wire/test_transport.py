"""Requests and answers: nothing is written twice, no body is unbounded, no credential is sent to the wrong host."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from yarl import URL

from dregutil import clock
from dregutil.errors import (
    DeletionDisabledError,
    OutcomeUnknownError,
    ProtocolError,
    PushedBackError,
    RegistryError,
    ThrottledError,
    UnlistableError,
    UnreachableError,
)
from dregutil.inventory.crawl import crawl
from dregutil.inventory.crawl_result import CrawlProgress
from dregutil.oci.manifest import OCI_MANIFEST
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry import ConnectOptions, Registry, WritableRegistry, connect, connect_writable
from dregutil.registry.http import transport
from dregutil.registry.http.retry import retry_after
from dregutil.registry.http.throttle import Gate
from dregutil.registry.http.transport import READING
from dregutil.report.progress import progress_text
from servers.raw import answer, raw_server, reset

REPOSITORY, DIGEST = Repository("r"), Digest(f"sha256:{'0' * 64}")


async def test_no_write_is_sent_twice_on_a_dropped_connection() -> None:
    async def handler(line: str, writer: asyncio.StreamWriter) -> None:
        if line.startswith("GET"):
            writer.write(answer("200 OK", "Content-Type: application/json", body=b'{"tags": ["1.0"]}'))
        else:
            reset(writer)

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        await registry.tags(REPOSITORY)  # the connection is kept; the write will find it broken
        writes: list[Callable[[WritableRegistry], Awaitable[object]]] = [
            lambda found: found.delete_manifest(REPOSITORY, DIGEST),
            lambda found: found.delete_tag(REPOSITORY, Tag("1.0")),
            lambda found: found.put_manifest(REPOSITORY, Tag("1.0"), b"{}", "application/json"),
            lambda found: found.put_blob(REPOSITORY, b"{}"),
        ]
        for number, write in enumerate(writes, start=1):
            with pytest.raises(OutcomeUnknownError):
                await write(registry)
            assert len([line for line in server.seen if not line.startswith("GET")]) == number
            await registry.tags(REPOSITORY)


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "504 Late"])
async def test_no_write_is_sent_twice_on_a_bad_status(status: str) -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status))

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        with pytest.raises(Exception, match="could not delete"):
            await registry.delete_manifest(REPOSITORY, DIGEST)
        assert len(server.seen) == 1


async def test_a_read_is_sent_again_and_retry_after_is_honoured() -> None:
    answers = [answer("429 Slow", "Retry-After: 0"), answer("503 Busy"), b""]

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        if answers:
            found = answers.pop(0)
            writer.write(found) if found else reset(writer)
        else:
            writer.write(answer("200 OK", "Content-Type: application/json", body=b'{"tags": null}'))

    async with raw_server(handler) as server, connect(server.url) as registry:
        assert await registry.tags(REPOSITORY) == ()
        assert len(server.seen) == 4


async def test_throttling_is_noticed_and_reported() -> None:
    answers = [answer("200 OK", body=b'{"tags": ["1"]}'), answer("429 Slow", "Retry-After: 0")]
    rest = answer("200 OK", f"Docker-Content-Digest: {DIGEST}", f"Content-Type: {OCI_MANIFEST}")

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0) if answers else rest)

    seen: list[CrawlProgress] = []
    async with raw_server(handler) as server, connect(server.url) as registry:
        assert registry.allowed_rate is None
        await crawl(registry, [REPOSITORY], on_progress=seen.append)
    assert seen[-1].allowed_rate is not None
    assert "; the registry pushes back: at most " in progress_text(seen[-1], 1.0)
    assert "pushes back" not in progress_text(replace(seen[-1], allowed_rate=None), 1.0)


async def test_a_server_that_only_refuses_is_given_up() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("429 Slow"))

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        registry._transport._patience = 0.3
        with pytest.raises(ThrottledError, match="refused every request"):
            await registry.tags(REPOSITORY)
        assert len(server.seen) < 10
        with pytest.raises(ThrottledError):
            await registry.delete_manifest(REPOSITORY, DIGEST)


async def test_a_single_request_refused_for_load_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_REFUSALS", 4)

    async def handler(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("429 Slow", "Retry-After: 0") if "/tags/" in line else answer("404 Not Found"))

    async with raw_server(handler) as server, connect(server.url) as registry:

        async def others() -> None:
            while True:
                await registry.resolve(REPOSITORY, Tag("1.0"))

        beside = asyncio.create_task(others())
        with pytest.raises(RegistryError, match="and answered others"):
            await registry.tags(REPOSITORY)
        beside.cancel()
        assert len([line for line in server.seen if "/tags/" in line]) == 4


async def test_a_write_refused_for_load_is_sent_again_unless_it_is_too_late() -> None:
    answers = [answer("429 Slow", "Retry-After: 0"), answer("202 Accepted")]

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0) if answers else answer("429 Slow", "Retry-After: 40"))

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        assert await registry.delete_manifest(REPOSITORY, DIGEST)
        assert len(server.seen) == 2
        started = time.monotonic()
        with pytest.raises(PushedBackError, match="was not sent"):
            await registry.delete_manifest(REPOSITORY, DIGEST)
        assert len(server.seen) == 3
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("where", ["before its connection", "while that is made"])
async def test_a_write_that_slept_with_its_machine_is_not_sent(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("202 Accepted"))

    real, slept = clock._clock, 0.0
    monkeypatch.setattr(clock, "_clock", lambda: real() + slept)
    owner, name = (Gate, "enter") if where == "before its connection" else (aiohttp.TCPConnector, "connect")
    real_one = getattr(owner, name)

    async def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal slept
        found = await real_one(*arguments, **options)
        slept += 3600
        return found

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        assert await registry.delete_manifest(REPOSITORY, DIGEST)
        monkeypatch.setattr(owner, name, slow)
        with pytest.raises(PushedBackError, match="was not sent"):
            await registry.delete_manifest(REPOSITORY, DIGEST)
        with pytest.raises(PushedBackError, match="was not sent"):
            await registry.put_manifest(REPOSITORY, Tag("1.0"), b"{}", OCI_MANIFEST)
        assert len(server.seen) == 1


async def test_a_reader_has_no_way_to_write() -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("202 Accepted"))

    async with raw_server(handler) as server, connect(server.url) as registry:
        assert not any(hasattr(registry, name) for name in ("delete_manifest", "delete_tag", "put_manifest"))
        assert registry._transport.methods == READING
        for method in ("DELETE", "PUT", "POST", "PATCH"):
            with pytest.raises(ProtocolError):
                await registry._transport.send(method, registry._transport.url("/v2/r/manifests/x"), ())
        assert server.seen == []


@pytest.mark.parametrize(
    "link",
    ["<http://elsewhere.example/v2/_catalog?last=a>", "<https://127.0.0.1/v2/_catalog?last=a>", "<//evil.example/>"],
)
async def test_a_page_on_another_host_is_refused(link: str) -> None:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(
            answer(
                "200 OK", f'Link: {link}; rel="next"', "Content-Type: application/json", body=b'{"repositories": []}'
            )
        )

    async with raw_server(handler) as server, connect(server.url) as registry:
        with pytest.raises(UnlistableError):
            [name async for name in registry.repositories()]


async def test_pages_are_followed_repeats_noticed_and_a_large_page_requested_in_parts() -> None:
    async def handler(line: str, writer: asyncio.StreamWriter) -> None:
        if "n=1000" in line:
            writer.write(answer("400 Bad", body=b'{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}'))
        elif "last=" not in line:
            link = 'Link: </v2/_catalog?n=100&last=a>; rel="next"'
            writer.write(answer("200 OK", link, body=b'{"repositories": ["a", "", null, "Not/Valid"]}'))
        elif "last=a" in line:
            link = f"Link: <http://{'127.0.0.1'}:{server.url.rpartition(':')[2]}/v2/_catalog?n=100&last=b>; rel=next"
            writer.write(answer("200 OK", link, body=b'{"repositories": ["b"]}'))
        else:
            link = 'Link: </v2/_catalog?n=100&last=a>; rel="next"'
            writer.write(answer("200 OK", link, body=b'{"repositories": ["c"]}'))

    async with raw_server(handler) as server, connect(server.url) as registry:
        found: list[str] = []
        with pytest.raises(UnlistableError):
            await _collect(registry, found)
        assert found == ["a", "b", "c"]


async def test_an_endless_body_and_a_decompression_bomb_are_refused() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)

    async def handler(line: str, writer: asyncio.StreamWriter) -> None:
        if "bomb" in line:
            writer.write(answer("200 OK", "Content-Encoding: gzip", body=bomb))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"0" * 6_000_000)

    async with raw_server(handler) as server, connect(server.url) as registry:
        for tag in ("endless", "bomb"):
            with pytest.raises(ProtocolError, match=r"more than|beyond"):
                await registry.manifest(REPOSITORY, Tag(tag))


async def test_a_stalled_server_ends_in_bounded_time() -> None:
    async def handler(line: str, writer: asyncio.StreamWriter) -> None:
        pass

    async with raw_server(handler) as server, connect(server.url, ConnectOptions(timeout=0.2)) as registry:
        with pytest.raises(UnreachableError, match="no answer within"):
            await registry.tags(REPOSITORY)


async def test_a_redirect_to_another_origin_carries_no_authorization() -> None:
    async def other(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("404 Not Found", "Docker-Distribution-Api-Version: registry/2.0"))

    async with raw_server(other) as elsewhere:

        async def handler(_: str, writer: asyncio.StreamWriter) -> None:
            if "Authorization" in server.headers[-1]:
                writer.write(answer("307 There", f"Location: {elsewhere.url}/x"))
            else:
                writer.write(answer("401 Who", 'WWW-Authenticate: Basic realm="r"'))

        async with raw_server(handler) as server:
            options = ConnectOptions(user="me", password="s3cret")
            async with connect_writable(server.url, options) as registry:
                assert await registry.resolve(REPOSITORY, Tag("1.0")) is None
                assert elsewhere.headers
                assert not any("Authorization" in headers for headers in elsewhere.headers)
                assert "s3cret" not in repr(options)


async def test_a_405_says_whether_deletion_is_disabled_or_all_is_read_only() -> None:
    bodies = [b'{"errors":[{"code":"UNSUPPORTED"}]}', b"Method not allowed"]

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("405 No", body=bodies.pop(0)))

    async with raw_server(handler) as server, connect_writable(server.url) as registry:
        with pytest.raises(DeletionDisabledError, match="disabled"):
            await registry.check_deletion(REPOSITORY)
        with pytest.raises(DeletionDisabledError, match="read-only"):
            await registry.check_deletion(REPOSITORY)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("Tue, 24 Nov 2026 00:00:09 GMT", 9.0), ("9999", 60.0), ("soon", None), (None, None), ("-3", None)],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 11, 24, tzinfo=UTC)) == seconds


async def _collect(registry: Registry, found: list[str]) -> None:
    async for name in registry.repositories():
        found.append(name)  # noqa: PERF401 - what came before an error is looked at


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1:5000",
        "https://a.example",
        "https://a.example:443/",
        "http://[::1]:80/a/b",
        "https://a.example/p/",
    ],
)
async def test_a_url_is_the_one_that_its_text_says(base: str) -> None:
    async with connect(base) as registry:
        transport = registry._transport
        before = base.rstrip("/")
        for path in (
            "/v2/",
            "/v2/_catalog?n=1",
            "/v2/a/tags/list?n=x&last=a%2Fb",
            "/v2/a/blobs/sha256:0a",
            "/v2/a?b?c=d",
        ):
            found, said = transport.url(path), URL(before + path, encoded=True)
            assert found == said
            assert (str(found), found.raw_path_qs, found.origin()) == (str(said), said.raw_path_qs, said.origin())
