"""A small HTTP/1.1 server in a thread of this process, and a proxy that can act between requests."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["LOST", "Answer", "Endpoint", "Proxy", "Request", "Stranger"]

_LONGEST_START = 20.0
_TURNS = 5  # of the loop, in which accepted connections are made, and aborted ones are closed
_TLS = b"\x16"  # the first byte of a TLS handshake


@dataclass(frozen=True)
class Request:
    """`path` is decoded, without the query; `target` is unchanged. The names of headers are in lower case."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def reference(self) -> str:
        """The last part of the path: a tag or a digest, if there is one."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """`cut`: the connection is reset halfway through it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


LOST = Answer(0)  # the connection is reset instead of an answer


class Endpoint:
    """Listens on a free loopback port, in its own thread. Subclasses define the answers."""

    def __init__(self) -> None:
        self.port = 0
        self.socket: str | None = None  # the path of a Unix socket that it listens on as well
        self.tls: ssl.SSLContext | None = None
        self.failures: list[Exception] = []  # from the server itself, or from the actions of a test
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None

    def answer(self, request: Request) -> Answer:
        """Answer a request; runs on the server's own thread, one request at a time."""
        raise NotImplementedError

    async def respond(self, request: Request) -> Answer:
        return self.answer(request)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}"

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(_LONGEST_START):
            raise RuntimeError("the server did not start")

    def stop(self) -> None:
        if self._loop is not None and self._stopped is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(_LONGEST_START)
            self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.failures:
            raise self.failures[0]

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        connections: set[_Connection] = set()
        server = await self._loop.create_server(
            lambda: _Connection(self, connections), "127.0.0.1", self.port, ssl=self.tls
        )
        self.port = server.sockets[0].getsockname()[1]
        local = None
        if self.socket is not None:
            local = await self._loop.create_unix_server(lambda: _Connection(self, connections), self.socket)
        ready.set()
        await self._stopped.wait()
        server.close()
        if local is not None:
            local.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)  # connections that were accepted just now
            for connection in list(connections):
                connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint, connections: set[_Connection]) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._buffer = b""
        self._work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._endpoint.tls is None and self._buffer[:1] == _TLS:  # as Go's server answers where TLS is tried
            self._transport.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            self._transport.close()
        elif self._work is None:
            self._next()

    def _next(self) -> None:
        request = self._take()
        self._work = None if request is None else asyncio.ensure_future(self._respond(request))

    def _take(self) -> Request | None:
        """The first request in the buffer, once it is complete."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers: dict[str, str] = {}
        for name, _, value in (line.partition(":") for line in lines):
            others = f"{headers[name.lower()]}, " if name.lower() in headers else ""  # as RFC 9110 joins them
            headers[name.lower()] = others + value.strip()
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(method, target, unquote(parts.path), query, headers, rest[:length])

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._endpoint.respond(request)
        except Exception as error:  # noqa: BLE001 - told when the server is stopped, and not a client that waits for ever
            self._endpoint.failures.append(error)
            answer = LOST
        if answer is LOST:
            self._transport.abort()
            return
        body = b"" if answer.status in (204, 304) else answer.body
        headers = {"Content-Length": str(len(body)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Answer')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if self._transport.is_closing():
            return
        whole = head if request.method == "HEAD" else head + body
        if answer.cut:
            self._transport.write(whole[: len(whole) - (len(body) or len(head)) // 2 - 1])
            self._transport.close()
            return
        self._transport.write(whole)
        self._next()


class Stranger(Endpoint):
    """A host that should get no request. It answers 200 with `body`; `seen` has what it was sent."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body
        self.seen: list[Request] = []

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        return Answer(200, self.body)


class Proxy(Endpoint):
    """A proxy in front of a server on the loopback. `before` may answer in its place; `after` may change its answer.

    Both run in their own threads, and may use the server: they do what another client might do between two requests.
    """

    def __init__(
        self,
        upstream: int,
        *,
        before: Callable[[Request], Answer | None] | None = None,
        after: Callable[[Request, Answer], Answer] | None = None,
    ) -> None:
        super().__init__()
        self.upstream = upstream
        self.before = before or (lambda _: None)
        self.after = after or (lambda _, answer: answer)
        self.requests: list[Request] = []

    async def respond(self, request: Request) -> Answer:
        self.requests.append(request)
        return await asyncio.get_running_loop().run_in_executor(None, self.answer, request)

    def answer(self, request: Request) -> Answer:
        found = self.before(request)
        return found if found is not None else self.after(request, self._forward(request))

    def sent(self, method: str) -> list[str]:
        """The targets of the requests of a method, in order."""
        return [request.reference for request in self.requests if request.method == method]

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            connection.request(request.method, request.target, request.body or None, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_THE_CONNECTION}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.getheader("Content-Length") or "0"
            return Answer(answer.status, body, kept)
        finally:
            connection.close()


_OF_THE_CONNECTION = frozenset(("content-length", "transfer-encoding", "connection", "date"))
