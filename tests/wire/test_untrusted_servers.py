"""Servers that send too much, or redirect elsewhere: a registry, and its token server."""

from __future__ import annotations

import asyncio
import gzip
import resource
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from dregutil.errors import DregutilError, OutcomeUnknownError, ProtocolError, RegistryError, UnreachableError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry import ConnectOptions, Registry, WritableRegistry, connect, connect_writable
from servers.raw import RawServer, answer, raw_server

REPOSITORY, DIGEST = Repository("r"), Digest(f"sha256:{'0' * 64}")
LOGIN = ConnectOptions(user="me", password="s3cret", timeout=5)
PIECE = b"a" * 65_536
MOST_PIECES = 2_000  # 131 MB: a client that reads all of it has no limit
MOST_TAKEN = 20_000_000  # bytes, including those in the socket buffers


async def write_on(writer: asyncio.StreamWriter, piece: Callable[[int], bytes]) -> int:
    """Write piece after piece until the client stops reading; return the number of bytes it took."""
    taken = 0
    try:
        for number in range(MOST_PIECES):
            found = piece(number)
            writer.write(found)
            await asyncio.wait_for(writer.drain(), 10)
            taken += len(found)
    except (ConnectionError, TimeoutError):
        pass
    return taken


FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "many headers": (
        b"HTTP/1.1 200 OK\r\n",
        lambda number: b"".join(b"X-%d-%d: %b\r\n" % (number, line, b"a" * 1000) for line in range(64)),
    ),
    "a header without end": (b"HTTP/1.1 200 OK\r\nX-Long: ", lambda _: PIECE),
    "a header's name without end": (b"HTTP/1.1 200 OK\r\n", lambda _: PIECE),
    "a status line without end": (b"HTTP/1.1 200 ", lambda _: PIECE),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_of_headers_is_refused(flood: str) -> None:
    begin, piece = FLOODS[flood]
    taken: list[int] = []

    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        taken.append(await write_on(writer, piece))
        writer.transport.abort()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with raw_server(handler) as server, connect(server.url, LOGIN) as registry:
        with pytest.raises(UnreachableError, match="not HTTP"):
            await registry.tags(REPOSITORY)
        await until(lambda: bool(taken))
    assert max(taken) < MOST_TAKEN
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


async def until(holds: Callable[[], bool]) -> None:
    """Wait at most 10 s until a server in this loop has reached a state."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is a plain list
            await asyncio.sleep(0.01)


# --- redirects


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS, and the bundle by which it is trusted."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, tmp_path / "ca.pem"


READS: dict[str, Callable[[Registry], Awaitable[object]]] = {
    "tag": lambda registry: registry.resolve(REPOSITORY, Tag("1.0")),
    "list": lambda registry: registry.tags(REPOSITORY),
    "blob": lambda registry: registry.blob(REPOSITORY, DIGEST, longest=1000),
}


@pytest.mark.parametrize("read", READS)
async def test_a_redirect_from_https_to_http_is_refused(authority: tuple[ssl.SSLContext, Path], read: str) -> None:
    context, bundle = authority

    async def plain(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("404 Not Found"))

    async with raw_server(plain) as elsewhere:

        async def handler(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer("307 There", f"Location: {elsewhere.url}/x?signature=s1gned"))

        options = ConnectOptions(verify=bundle)
        async with raw_server(handler, context) as server, connect(server.url, options) as registry:
            with pytest.raises(ProtocolError, match="redirects from https to http") as caught:
                await READS[read](registry)
    assert elsewhere.seen == []
    assert "s1gned" not in caught.value.message


WRITES: dict[str, Callable[[WritableRegistry], Awaitable[object]]] = {
    "DELETE": lambda registry: registry.delete_manifest(REPOSITORY, DIGEST),
    "DELETE of a tag": lambda registry: registry.delete_tag(REPOSITORY, Tag("1.0")),
    "PUT": lambda registry: registry.put_manifest(REPOSITORY, Tag("1.0"), b"{}", "application/json"),
    "POST": lambda registry: registry.put_blob(REPOSITORY, b"{}"),
    "POST of a mount": lambda registry: registry.mount_blob(REPOSITORY, DIGEST, Repository("other")),
}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 There", "308 For Ever"])
@pytest.mark.parametrize("write", WRITES)
async def test_a_redirected_write_is_not_followed(write: str, status: str) -> None:
    """Neither to another host nor to the registry itself: the target is not what was confirmed."""

    async def other(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("202 Accepted"))

    async with raw_server(other) as elsewhere:
        places = [f"{elsewhere.url}/v2/r/manifests/stable", "/v2/r/manifests/stable"]

        async def handler(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(status, f"Location: {places[len(server.seen) - 1]}", "Connection: close"))
            writer.close()

        async with raw_server(handler) as server, connect_writable(server.url) as registry:
            for number in range(len(places)):
                with pytest.raises(RegistryError, match=f"status {status[:3]}"):
                    await WRITES[write](registry)
                assert len(server.seen) == number + 1
    assert elsewhere.seen == []


# --- the token server


async def _endless(writer: asyncio.StreamWriter, taken: list[int]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    taken.append(await write_on(writer, lambda _: PIECE))
    writer.transport.abort()


async def _endless_error(writer: asyncio.StreamWriter, taken: list[int]) -> None:
    writer.write(b"HTTP/1.1 401 Who\r\nContent-Type: application/json\r\n\r\n")
    taken.append(await write_on(writer, lambda _: PIECE))
    writer.transport.abort()


async def _bomb(writer: asyncio.StreamWriter, _: list[int]) -> None:
    body = gzip.compress(b'{"token":"' + b"0" * 30_000_000 + b'"}')
    writer.write(answer("200 OK", "Content-Encoding: gzip", body=body))


async def _bomb_in_a_bomb(writer: asyncio.StreamWriter, _: list[int]) -> None:
    body = gzip.compress(gzip.compress(b"0" * 30_000_000))
    writer.write(answer("200 OK", "Content-Encoding: gzip, gzip", body=body))


async def _announced(writer: asyncio.StreamWriter, _: list[int]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")


async def _headers(writer: asyncio.StreamWriter, taken: list[int]) -> None:
    begin, piece = FLOODS["many headers"]
    writer.write(begin)
    taken.append(await write_on(writer, piece))
    writer.transport.abort()


BOMBS = {
    "a body without end": _endless,
    "an error without end": _endless_error,
    "a bomb": _bomb,
    "a bomb in a bomb": _bomb_in_a_bomb,
    "a length that is announced": _announced,
    "a flood of headers": _headers,
}


@pytest.mark.parametrize(
    ("bomb", "kind"),
    [
        *((bomb, "identity token") for bomb in BOMBS),
        *((bomb, "password") for bomb in BOMBS if bomb != "a flood of headers"),  # requested again, which takes a while
    ],
)
async def test_a_token_server_that_sends_too_much(
    bomb: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    async def tokens(_: str, writer: asyncio.StreamWriter) -> None:
        await BOMBS[bomb](writer, taken)

    async with raw_server(tokens) as issuer, raw_server(_challenging(issuer)) as server:
        options = LOGIN
        if kind == "identity token":
            host = server.url.removeprefix("http://")
            text = f'{{"auths":{{"{host}":{{"auth":"bWU6","identitytoken":"s3cret"}}}}}}'
            monkeypatch.setenv("DOCKER_AUTH_CONFIG", text)
            monkeypatch.setenv("HOME", str(tmp_path))
            options = ConnectOptions(timeout=5)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with connect(server.url, options) as registry:
            with pytest.raises(DregutilError) as caught:
                await registry.tags(REPOSITORY)
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert "s3cret" not in caught.value.message
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    assert all(size < MOST_TAKEN for size in taken)


async def test_a_token_server_that_redirects_is_not_followed() -> None:
    async def other(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", body=b'{"token":"t"}'))

    async with raw_server(other) as elsewhere:

        async def tokens(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer("307 There", f"Location: {elsewhere.url}/token"))

        async with (
            raw_server(tokens) as issuer,
            raw_server(_challenging(issuer)) as server,
            connect(server.url, LOGIN) as registry,
        ):
            with pytest.raises(ProtocolError, match="gave no token"):
                await registry.tags(REPOSITORY)
    assert elsewhere.seen == []


def _challenging(issuer: RawServer) -> Callable[[str, asyncio.StreamWriter], Awaitable[None]]:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("401 Who", f'WWW-Authenticate: Bearer realm="{issuer.url}/token",service="s"'))

    return handler
