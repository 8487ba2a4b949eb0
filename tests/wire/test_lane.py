"""Plain requests on their own connections: the same bytes are sent, the same errors raised, and no more connections
opened."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from test_head import ODD

from dregutil.errors import CertificateError, DregutilError, UnreachableError
from dregutil.oci.manifest import ACCEPT, OCI_MANIFEST
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry import ConnectOptions, Registry, connect, connect_writable
from dregutil.registry.http import transport as transport_module
from dregutil.registry.http.connections import Connections
from dregutil.registry.http.deadline import Watched
from dregutil.registry.http.lane import KEPT_FOR, Lane
from dregutil.registry.http.transport import Answer
from heads import HEAD
from servers.raw import answer, raw_server, reset

REPOSITORY, TAG = Repository("r"), Tag("1.0")
DIGEST = Digest("sha256:" + "0a" * 32)
PATH = "/v2/r/manifests/1.0?uncached=1"
LIST = answer("200 OK", "Content-Type: application/json", body=b'{"name": "r", "tags": ["1.0"]}')


def _lane(registry: Registry) -> Lane:
    found = registry._transport._connections._lane
    assert found is not None
    return found


async def _open(registry: Registry, size: int) -> None:
    """Wait until the lane has so many connections."""
    async with asyncio.timeout(20):
        for _ in iter(lambda: _lane(registry).size == size, True):
            await asyncio.sleep(0)  # a turn of the loop


@pytest.fixture
def by_aiohttp(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of the requests that aiohttp sends."""
    sent: list[str] = []
    begin = Connections._by_aiohttp

    async def noted(self: Connections, method: str, *arguments: Any, **options: Any) -> Answer:
        sent.append(method)
        return await begin(self, method, *arguments, **options)

    monkeypatch.setattr(Connections, "_by_aiohttp", noted)
    return sent


async def _plain(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)


async def _sent(registry: Registry, method: str, path: str = PATH, **headers: str) -> Answer:
    transport = registry._transport
    return await transport.send(method, transport.url(path), (f"repository:{REPOSITORY}:pull",), headers=headers)


@asynccontextmanager
async def _without_lane(url: str, options: ConnectOptions | None = None) -> AsyncIterator[Registry]:
    async with connect(url, options) as registry:
        registry._transport._connections._lane = None
        yield registry


async def test_heads_go_by_the_lane_over_one_connection(by_aiohttp: list[str]) -> None:
    async with raw_server(_plain) as server, connect(server.url) as registry:
        for _ in range(5):
            found = await registry.resolve(REPOSITORY, TAG)
            assert found is not None
            assert (found.digest, found.media_type, found.size) == (DIGEST, OCI_MANIFEST, 529)
        assert len(server.seen) == 5
        assert _lane(registry).size == 1
    assert by_aiohttp == []


@pytest.mark.parametrize(
    ("options", "challenge"),
    [
        (ConnectOptions(), None),
        (ConnectOptions(user="ann", password="s3cret"), 'Basic realm="r"'),
        (ConnectOptions(user="ännchen", password="größe"), 'Basic realm="r"'),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Accept": ACCEPT, "Cache-Control": "no-cache"}, {"accept": "a/b"}, {"User-Agent": "other", "X-A": "1 2"}],
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_both_ways_send_the_same_bytes(
    options: ConnectOptions, challenge: str | None, headers: dict[str, str], method: str, by_aiohttp: list[str]
) -> None:
    async def handle(line: str, writer: asyncio.StreamWriter) -> None:
        asks = challenge is not None and "Authorization" not in server.headers[-1]
        plain = LIST if line.startswith("GET") else HEAD
        writer.write(answer("401 Who", f"WWW-Authenticate: {challenge}") if asks else plain)

    sent: list[list[tuple[str, str]]] = []
    for opened in (connect, _without_lane):
        async with raw_server(handle) as server, opened(server.url, options) as registry:
            for path in (PATH, "/v2/r/blobs/sha256:0a?a=%2F&b=~"):
                assert (await _sent(registry, method, path, **headers)).status == 200
            port = server.url.rpartition(":")[2]
            heads = [head.replace(port, "PORT") for head in server.headers]
            sent.append(list(zip(server.seen, heads, strict=True)))
        if opened is connect:
            assert by_aiohttp == []
    assert sent[0] == sent[1]
    assert sum(line.startswith(f"{method} /v2/r/") for line, _ in sent[0]) == (2 if challenge is None else 3)
    assert "Host: 127.0.0.1:PORT\r\n" in sent[0][0][1]


async def _outcome(asked: Awaitable[object], registry: Registry) -> object:
    """What was found, or the text of the error."""
    try:
        found = await asked
    except DregutilError as error:
        return type(error), error.message.replace(str(registry.address.port), "PORT")
    return found


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("nothing", "not whole")])
async def test_an_odd_answer_is_read_by_aiohttp(
    name: str, by_aiohttp: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is the one without the lane, and after a few such answers HEADs are no longer sent twice."""
    monkeypatch.setattr(transport_module, "wait_before", lambda *_: 0)

    async def handle(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ODD[name] if line.startswith("HEAD") else answer("404 No"))

    outcomes = []
    for opened in (connect, _without_lane):
        async with raw_server(handle) as server, opened(server.url, ConnectOptions(timeout=0.2)) as registry:
            outcomes.append(await _outcome(registry.resolve(REPOSITORY, TAG), registry))
            if opened is connect:
                assert "HEAD" in by_aiohttp
                for _ in range(3):
                    await _outcome(registry.resolve(REPOSITORY, TAG), registry)
                server.seen.clear()
                by_aiohttp.clear()
                await _outcome(registry.resolve(REPOSITORY, TAG), registry)
                assert sum(line.startswith("HEAD") for line in server.seen) == by_aiohttp.count("HEAD") > 0
    assert outcomes[0] == outcomes[1]


async def test_a_single_odd_answer_costs_one_more_request(by_aiohttp: list[str]) -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"a body" if len(server.seen) == 1 else HEAD)

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(3):
            assert await registry.resolve(REPOSITORY, TAG)
        assert len(server.seen) == 4
    assert by_aiohttp == ["HEAD"]


CHUNKS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%s\r\n" % (len(part), part) for part in (b'{"name": "r", ', b'"tags": ["1.0"]}', b"")
)


@pytest.mark.parametrize("plain", [LIST, CHUNKS])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_lists_go_by_the_lane_over_one_connection(plain: bytes, size: int, by_aiohttp: list[str]) -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        for place in range(0, len(plain), size):
            writer.write(plain[place : place + size])
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(3):
            assert await registry.tags(REPOSITORY) == (TAG,)
        assert len(server.seen) == 3
        assert _lane(registry).size == 1
    assert by_aiohttp == []


@pytest.mark.parametrize(
    "odd",
    [
        LIST.replace(b"1.1", b"1.0", 1),
        LIST.replace(b"Content-Type", b"Content-Encoding: identity\r\nContent-Type"),
        CHUNKS.replace(b"\r\n0\r\n\r\n", b"\r\n0\r\nA: b\r\n\r\n"),
        CHUNKS.replace(b"\r\ne\r\n", b"\r\ne;a=b\r\n"),
        CHUNKS.replace(b"\r\ne\r\n", b"\r\nx\r\n"),
        LIST.replace(b"Content-Length", b"X-Length"),
    ],
)
async def test_an_odd_list_is_read_by_aiohttp(
    odd: bytes, by_aiohttp: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is the one without the lane, and after a few such answers GETs are no longer sent twice; HEADs still
    go by the lane."""
    monkeypatch.setattr(transport_module, "wait_before", lambda *_: 0)

    async def handle(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD if line.startswith("HEAD") else odd)
        if line.startswith("GET") and (odd.startswith(b"HTTP/1.0") or b"X-Length" in odd):
            writer.close()  # which ends the body

    outcomes = []
    for opened in (connect, _without_lane):
        async with raw_server(handle) as server, opened(server.url) as registry:
            outcomes.append(await _outcome(registry.tags(REPOSITORY), registry))
            if opened is connect:
                for _ in range(2):
                    await _outcome(registry.tags(REPOSITORY), registry)
                server.seen.clear()
                by_aiohttp.clear()
                await _outcome(registry.tags(REPOSITORY), registry)
                assert len(server.seen) == by_aiohttp.count("GET") > 0
                assert await registry.resolve(REPOSITORY, TAG)
                assert "HEAD" not in by_aiohttp
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("plain", [LIST, CHUNKS])
@pytest.mark.parametrize("how", ["reset", "closed", "silent"])
async def test_a_list_that_is_cut_is_the_same_error(
    plain: bytes, how: str, by_aiohttp: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the head and in the body, and as many requests."""
    monkeypatch.setattr(transport_module, "wait_before", lambda *_: 0)
    for cut in (10, len(plain) - 3):

        async def handle(_: str, writer: asyncio.StreamWriter, cut: int = cut) -> None:
            writer.write(plain[:cut])
            await writer.drain()
            if how == "reset":
                reset(writer)
            elif how == "closed":
                writer.close()

        outcomes = []
        for opened in (connect, _without_lane):
            async with raw_server(handle) as server, opened(server.url, ConnectOptions(timeout=0.2)) as registry:
                outcomes.append((await _outcome(registry.tags(REPOSITORY), registry), len(server.seen)))
            if opened is connect:
                assert by_aiohttp == []
            by_aiohttp.clear()
        assert outcomes[0] == outcomes[1]


async def test_a_list_that_is_too_long_is_the_same_error() -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(LIST)

    outcomes = []
    for opened in (connect, _without_lane):
        async with raw_server(handle) as server, opened(server.url) as registry:
            transport = registry._transport
            outcomes.append(await _outcome(transport.send("GET", transport.url(PATH), (), longest=5), registry))
    assert outcomes[0] == outcomes[1]
    assert "more than 5 bytes" in str(outcomes[0])


async def test_a_head_may_arrive_byte_by_byte(by_aiohttp: list[str]) -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        for place in range(len(HEAD)):
            writer.write(HEAD[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(2):
            assert await registry.resolve(REPOSITORY, TAG)
    assert by_aiohttp == []


async def test_an_endless_head_is_given_up() -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"A: b\r\n" * 1000)
            await writer.drain()

    async with raw_server(handle) as server, connect(server.url) as registry:
        with pytest.raises(UnreachableError, match="is not HTTP"):
            await registry.resolve(REPOSITORY, TAG)


async def test_a_body_that_comes_late_is_no_answer_to_the_next_request(by_aiohttp: list[str]) -> None:
    is_read = asyncio.Event()

    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        await is_read.wait()
        is_read.clear()
        writer.write(HEAD.replace(b"0a" * 32, b"0b" * 32))

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(3):
            found = await registry.resolve(REPOSITORY, TAG)
            assert found is not None
            assert found.digest == DIGEST
            is_read.set()
            await _open(registry, 0)


@pytest.mark.parametrize("how", ["reset", "closed", "cut", "silent"])
async def test_a_broken_connection_is_the_same_error(how: str, by_aiohttp: list[str]) -> None:
    """And as many requests: nothing is hidden from the limit of attempts."""

    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        if how == "reset":
            reset(writer)
        elif how == "closed":
            writer.close()
        elif how == "cut":
            writer.write(HEAD[: len(HEAD) // 2])
            await writer.drain()
            writer.close()

    outcomes = []
    for opened in (connect, _without_lane):
        async with raw_server(handle) as server, opened(server.url, ConnectOptions(timeout=0.3)) as registry:
            outcomes.append(
                (await _outcome(registry.resolve(REPOSITORY, TAG), registry), len(server.seen), type(registry))
            )
        if opened is connect:
            assert by_aiohttp == []
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] == 3


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        await writer.drain()
        writer.close()

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(3):
            assert await registry.resolve(REPOSITORY, TAG)
            await _open(registry, 0)
        assert len(server.seen) == 3
        assert registry._transport.gate.throttle._losses == 0


async def test_a_connection_that_the_server_will_close_is_not_kept() -> None:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"Date:", b"Connection: close\r\nDate:"))

    async with raw_server(handle) as server, connect(server.url) as registry:
        for _ in range(2):
            assert await registry.resolve(REPOSITORY, TAG)
            assert not _lane(registry).has_idle


async def test_a_connection_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0  # seconds of the loop's clock, with which its timers end
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + ahead)
    async with raw_server(_plain) as server, connect(server.url) as registry:
        await asyncio.gather(*(registry.resolve(REPOSITORY, TAG) for _ in range(4)))
        assert _lane(registry).size == 4
        ahead += KEPT_FOR / 2
        await registry.resolve(REPOSITORY, TAG)
        assert _lane(registry).size == 4
        ahead += KEPT_FOR / 2
        await _open(registry, 1)
        ahead += KEPT_FOR / 2
        await _open(registry, 0)
        assert await registry.resolve(REPOSITORY, TAG)


async def test_cancellation_closes_the_connection_in_use() -> None:
    received, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received.set()
        await reader.read(-1)  # until the client closes it
        writer.close()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as registry:
        task = asyncio.create_task(registry.resolve(REPOSITORY, TAG))
        await received.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 2)
        assert _lane(registry).size == 0


class _Counted(asyncio.Protocol):
    """Answers after 2 ms; counts the connections that are open."""

    connected = largest = 0
    obeys = True  # `Connection: close`
    lists = LIST
    none = asyncio.Event()  # set while none is open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        _Counted.connected += 1
        _Counted.none.clear()

    def data_received(self, data: bytes) -> None:
        # By now, a connection that the client closed before it opened this one has been noticed.
        _Counted.largest = max(_Counted.largest, _Counted.connected)
        asyncio.get_running_loop().call_later(0.002, self._answer, data)

    def connection_lost(self, exc: Exception | None) -> None:
        _Counted.connected -= 1
        if not _Counted.connected:
            _Counted.none.set()

    def _answer(self, data: bytes) -> None:
        closes = _Counted.obeys and b"Connection: close" in data
        found = HEAD if data.startswith(b"HEAD") else _Counted.lists
        self.transport.write(found.replace(b"Content-Type", b"Connection: close\r\nContent-Type") if closes else found)  # type: ignore[attr-defined]
        if closes:
            self.transport.close()


@pytest.mark.parametrize("lists", [LIST, LIST.replace(b"Content-Type", b"Content-Encoding: identity\r\nContent-Type")])
@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.parametrize("most", [1, 2, 8])
async def test_there_are_few_more_connections_than_requests_at_once(
    most: int, obeys: bool, lists: bytes, by_aiohttp: list[str]
) -> None:
    """Also where aiohttp reads the lists."""
    server = await asyncio.get_running_loop().create_server(_Counted, "127.0.0.1", 0)
    _Counted.connected, _Counted.largest, _Counted.obeys, _Counted.none = 0, 0, obeys, asyncio.Event()
    _Counted.lists = lists
    options = ConnectOptions(concurrency=most)
    async with server, connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", options) as registry:
        for gets in (1, 40, 3, 0):
            await asyncio.gather(
                *(registry.resolve(REPOSITORY, TAG) for _ in range(40)),
                *(registry.tags(REPOSITORY) for _ in range(gets)),
            )
        assert 0 < _Counted.connected <= most + most // 8
        by_aiohttp.clear()
        await asyncio.gather(*(registry.resolve(REPOSITORY, TAG) for _ in range(40)))
        # The lane has got the connections back, but for one that aiohttp may keep.
        assert not obeys or len(by_aiohttp) <= (0 if most >= 8 else 40 / most + 2)
    assert _Counted.largest <= most + most // 8
    async with asyncio.timeout(10):
        await _Counted.none.wait()  # the server has seen that the client closed them all


async def test_with_one_connection_there_is_no_second_one() -> None:
    """A server that serves one connection at a time would never answer on a second one."""
    busy = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with busy:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    writer.write(HEAD if head.startswith(b"HEAD") else LIST)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    options = ConnectOptions(concurrency=1, timeout=2)
    async with server, connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", options) as registry:
        for _ in range(3):
            assert await registry.resolve(REPOSITORY, TAG)
            assert await registry.tags(REPOSITORY) == (TAG,)


async def test_nothing_stays_open_after_the_session(recwarn: pytest.WarningsRecorder) -> None:
    async with raw_server(_plain) as server:
        async with connect_writable(server.url) as registry:
            await asyncio.gather(*(registry.resolve(REPOSITORY, TAG) for _ in range(9)))
            lane = _lane(registry)
            assert lane.size == 9
            await lane.close()
            assert not lane._closing  # their sockets are closed, not only about to be
        assert lane.size == 0
        assert await lane.exchange("HEAD", PATH, {}, 0, Watched(1, 1, 0)) is None
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


async def test_a_connection_that_cannot_be_made_is_aiohttps_error(by_aiohttp: list[str]) -> None:
    async with connect("http://127.0.0.1:9") as registry:
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 does not answer: Connect call failed") as raised:
            await registry.resolve(REPOSITORY, TAG)
        assert by_aiohttp == ["HEAD"]
        assert raised.value.__cause__ is not None


def _certificate() -> tuple[trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return authority, context


async def test_it_works_over_tls(tmp_path: Any, by_aiohttp: list[str], recwarn: pytest.WarningsRecorder) -> None:
    authority, context = _certificate()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = ConnectOptions(verify=tmp_path / "ca.pem")
    async with raw_server(_plain, context) as server, connect(server.url, options) as registry:
        for _ in range(3):
            assert await registry.resolve(REPOSITORY, TAG)
        assert _lane(registry).size == 1
    assert by_aiohttp == []
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


async def test_a_certificate_that_is_not_trusted_is_the_same_error() -> None:
    _, context = _certificate()
    outcomes = []
    async with raw_server(_plain, context) as server:
        for opened in (connect, _without_lane):
            async with opened(server.url) as registry:
                outcomes.append(await _outcome(registry.resolve(REPOSITORY, TAG), registry))
        assert server.seen == []
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] is CertificateError  # type: ignore[index]


async def test_there_is_no_lane_through_a_proxy_or_with_another_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with connect("http://registry.example") as registry:
        assert registry._transport._connections._lane is None
    async with connect("http://127.0.0.1:9") as registry:
        assert registry._transport._connections._lane is not None


async def test_a_redirect_to_another_origin_is_followed_by_aiohttp(by_aiohttp: list[str]) -> None:
    async with raw_server(_plain) as elsewhere:

        async def handle(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer("307 There", f"Location: {elsewhere.url}/x"))

        async with raw_server(handle) as server, connect(server.url) as registry:
            assert await registry.resolve(REPOSITORY, TAG)
            assert _lane(registry).size == 1
        assert by_aiohttp == ["HEAD"]
        assert len(elsewhere.seen) == 1


async def test_a_redirect_within_the_registry_goes_by_the_lane(by_aiohttp: list[str]) -> None:
    async def handle(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD if "/there" in line else answer("307 There", "Location: /there"))

    async with raw_server(handle) as server, connect(server.url) as registry:
        assert await registry.resolve(REPOSITORY, TAG)
        assert len(server.seen) == 2
    assert by_aiohttp == []


async def test_pushing_back_and_warnings_are_noticed_on_the_lane(by_aiohttp: list[str]) -> None:
    warned: list[str] = []
    answers = [answer("429 Slow", "Retry-After: 0"), answer("503 Busy", "Retry-After: 0")]

    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0) if answers else HEAD.replace(b"Date:", b'Warning: 299 - "old"\r\nDate:'))

    async with raw_server(handle) as server, connect(server.url, ConnectOptions(on_warning=warned.append)) as registry:
        assert await registry.resolve(REPOSITORY, TAG)
        assert registry.allowed_rate is not None
        assert len(server.seen) == 3
    assert warned == ["the registry says: old"]
    assert by_aiohttp == []
