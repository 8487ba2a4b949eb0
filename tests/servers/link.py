"""A TCP connection between two programs that can be cut: forwarded, reset, or swallowed without a word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Self

__all__ = ["Link"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_LONGEST_START = 20.0


class Link:
    """Forwards what arrives on `port` to a port of the loopback, until it is cut."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.most = 0  # connections that were open at a time
        self._open = threading.Event()  # what arrives is forwarded
        self._open.set()
        self._refuses = False
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None

    def reset(self) -> None:
        """Existing connections are reset, and so is each new one."""
        self._refuses = True
        self._call(self._reset_all)

    def swallow(self) -> None:
        """Nothing is forwarded from now on, in either direction, and nobody is told: as behind a dead router that
        still acknowledges. New connections are taken, and get no answer."""
        self._open.clear()

    def heal(self) -> None:
        """New connections are forwarded. Those that were swallowed never are: they are reset."""
        self._call(self._reset_all)
        self._refuses = False
        self._open.set()

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(_LONGEST_START):
            raise RuntimeError("the link did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stopped is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_LONGEST_START)

    def _call(self, what: object) -> None:
        assert self._loop is not None
        assert callable(what)
        done = threading.Event()

        def act() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(_LONGEST_START)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refuses:
            _reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            _reset(writer)
            return
        pair = (writer, back)
        self._pairs.add(pair)
        self.most = max(self.most, len(self._pairs))
        with contextlib.suppress(asyncio.CancelledError):  # at the end of the test
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer), return_exceptions=True)
        self._pairs.discard(pair)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if self._open.is_set():
                    target.write(data)
                    await target.drain()
        except OSError:
            _reset(target)
        finally:
            if self._open.is_set():
                target.close()

    def _reset_all(self) -> None:
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for writer in pair:
                _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        found = writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
