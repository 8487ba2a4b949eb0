"""A lane for plain requests: HTTP/1.1 connections to one registry that carry HEADs, and GETs of what is not large.

A crawl consists of them, and aiohttp spends most of its time for one on what they do not have. The lane takes only
whole, plain heads (`head`) and bodies that end by themselves (`arriving`). For anything else it closes the connection
and returns None, and so it does where no connection can be made: the caller then sends the request by aiohttp, whose
answer or error counts.

All connections read into one buffer: what has arrived is copied before another one reads.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping

from yarl import URL

from dregutil.registry.http.arriving import Arriving
from dregutil.registry.http.deadline import Watched
from dregutil.registry.http.head import LONGEST_HEAD, Head, is_odd, is_whole, read_head, request_fields, request_line

__all__ = ["BodyLostError", "Lane", "lane_to"]

KEPT_FOR = 60.0  # seconds for which a connection is kept without a request
_MOST_ODD = 3  # answers to one method that were not plain, after which aiohttp sends all its requests
_NEXT_ADDRESS_AFTER = 0.25  # seconds, as aiohttp


class BodyLostError(ConnectionError):
    """The connection was lost in the middle of a body."""


def lane_to(base: URL, defaults: Mapping[str, str], *, tls: ssl.SSLContext | bool) -> Lane | None:
    """A lane to the origin of `base`, whose requests have the headers `defaults`; None where aiohttp would connect in
    another way than asyncio does by itself."""
    host, port = base.raw_host or "", base.port
    if not host.isascii() or host.endswith(".") or "%" in host or port is None or base.user is not None:
        return None
    if base.scheme == "http":
        return Lane(host, port, None, base.host_port_subcomponent or "", defaults)
    if base.scheme == "https" and isinstance(tls, ssl.SSLContext):
        return Lane(host, port, tls, base.host_port_subcomponent or "", defaults)
    return None


class Lane:
    """Connections to one origin. `size` counts those that are open, or being opened."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, authority: str, defaults: Mapping[str, str]
    ) -> None:
        """`authority` is the value of Host."""
        self._host = host
        self._port = port
        self._tls = tls
        self._authority = authority
        self._defaults = defaults
        self._buffer = memoryview(bytearray(LONGEST_HEAD))
        self._open: set[_Connection] = set()
        self._closing: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._connecting = 0
        self._odd = {"HEAD": 0, "GET": 0}
        self._headers: Mapping[str, str] | None = None  # of the last request, and its fields
        self._fields: bytes | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        return len(self._open) + self._connecting

    def takes(self, method: str) -> bool:
        """Whether requests of a method are taken: not after a few answers that were odd."""
        return self._odd.get(method, _MOST_ODD) < _MOST_ODD and self._closed is None

    @property
    def has_idle(self) -> bool:
        return bool(self._idle)

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], longest: int, watched: Watched
    ) -> Head | None:
        """The answer to a HEAD or GET, with a body of at most `longest` bytes; None if the request is to be sent by
        aiohttp. Raises OSError if the connection is lost, BodyLostError in the middle of a body."""
        request = self._request(method, target, headers)
        if request is None or not self.takes(method):
            return None
        connection = self._kept() or await self._connect()
        if connection is None:
            return None
        try:
            found = await connection.send(request, None if method == "HEAD" else Arriving(longest), watched)
        except BaseException:  # when cancelled, too: the answer to this request may still arrive on this connection
            self._drop(connection)
            raise
        if found is not None and found.keeps:
            self._keep(connection)
        else:
            self._odd[method] += found is None
            self._drop(connection)
        return found

    async def drop_idle(self) -> None:
        """Close a connection without a request, if there is one."""
        if self._idle:
            self._drop(self._idle.pop(0))
            await asyncio.sleep(0)  # the loop closes it

    async def close(self) -> None:
        """Close all connections, and wait until they are."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._closed = asyncio.get_running_loop().create_future()
        for connection in tuple(self._open):
            self._drop(connection)
        if self._closing:
            await self._closed

    def _request(self, method: str, target: str, headers: Mapping[str, str]) -> bytes | None:
        if headers != self._headers:
            self._headers, self._fields = headers, request_fields(self._authority, self._defaults, headers)
        line = request_line(method, target)
        return None if line is None or self._fields is None else line + self._fields

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            self._drop(connection)
        return None

    async def _connect(self) -> _Connection | None:
        """A new connection; None if there is none. The deadline of the exchange is that of the connection, too."""
        self._connecting += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._buffer, self._open.add, self._lost),
                self._host,
                self._port,
                ssl=self._tls,
                happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
            )
        except (OSError, ValueError):  # ValueError: a name that TLS does not accept
            return None
        finally:
            self._connecting -= 1
        return connection

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.kept_at = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEPT_FOR, self._drop_old)

    def _drop_old(self) -> None:
        """Close the connections that were kept for too long, and look again as long as there are others."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0].kept_at >= KEPT_FOR:
            self._drop(self._idle.pop(0))
        if self._idle:
            self._sweep = loop.call_at(self._idle[0].kept_at + KEPT_FOR, self._drop_old)

    def _drop(self, connection: _Connection) -> None:
        """Close a connection that is not in `_idle`."""
        if connection in self._open:
            self._open.remove(connection)
            self._closing.add(connection)
            connection.abort()

    def _lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._closing.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._closed is not None and not self._closing and not self._closed.done():
            self._closed.set_result(None)


class _Connection(asyncio.BufferedProtocol):
    """One request at a time. `opened` is called when the connection is made, `lost` when it is closed."""

    def __init__(
        self, buffer: memoryview, opened: Callable[[_Connection], None], lost: Callable[[_Connection], None]
    ) -> None:
        self.kept_at = 0.0  # when the last answer was complete, on the loop's clock
        self._buffer = buffer
        self._opened = opened
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Head | None] | None = None
        self._begun = bytearray()  # the head of an answer to HEAD that has not arrived as a whole
        self._arriving: Arriving | None = None  # the answer to a GET
        self._watched: Watched | None = None

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, arriving: Arriving | None, watched: Watched) -> asyncio.Future[Head | None]:
        """Send a request, whose answer has a body if it is read by `arriving`.

        Returns the future of its answer: None for anything but one plain answer, OSError if the connection is lost.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._arriving, self._watched = arriving, watched
        if self._transport is None:
            self._answer.set_exception(ConnectionResetError())
        else:
            self._transport.write(request)
        return self._answer

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.abort()  # more than was asked for
            return
        found = bytes(self._buffer[:nbytes])
        if self._arriving is not None:
            self._take(answer, self._arriving, found)
            return
        if self._begun or not is_whole(found):
            seen = len(self._begun)
            self._begun += found
            is_open = len(self._begun) <= LONGEST_HEAD and not is_whole(self._begun, seen)
            if is_open and not is_odd(self._begun, seen):
                return
            found = bytes(self._begun)
            self._begun.clear()
        answer.set_result(read_head(found))

    def _take(self, answer: asyncio.Future[Head | None], arriving: Arriving, data: bytes) -> None:
        """Read a part of the answer to a GET."""
        if arriving.take(data):
            answer.set_result(arriving.found)
        elif arriving.has_begun and self._watched is not None:
            self._watched.heard_at = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        answer = self._answer
        if answer is not None and not answer.done():
            is_in_body = self._arriving is not None and self._arriving.has_begun
            error = BodyLostError() if is_in_body else ConnectionResetError()
            error.__cause__ = exc
            answer.set_exception(error)
        self._lost(self)
