"""What aiohttp reads in the bytes of an answer, to compare with `read_head` and `Arriving`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD

from dregutil.registry.http.arriving import Arriving
from dregutil.registry.http.head import read_head

__all__ = ["HEAD", "AiohttpHead", "body_by_aiohttp", "by_aiohttp", "read_alike", "read_body_alike"]

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 529\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
    b'Docker-Content-Digest: sha256:%s\r\nEtag: "sha256:%s"\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\n\r\n'
    % (b"0a" * 32, b"0a" * 32)
)


@dataclass(frozen=True, slots=True)
class AiohttpHead:
    """The names of headers are in lower case. `keeps`: aiohttp would use the connection again."""

    status: int
    headers: tuple[tuple[str, str], ...]
    keeps: bool


def by_aiohttp(*parts: bytes) -> AiohttpHead | None:
    """The one head that aiohttp reads in what arrives in `parts`; None if it refuses it, or waits for more."""
    loop = asyncio.new_event_loop()
    try:
        # Without a transport nothing is sent, and the parser is the one that aiohttp uses.
        handler = ResponseHandler(loop)
        handler.set_response_params(skip_payload=True, read_until_eof=True, auto_decompress=False)
        for part in parts:
            handler.data_received(part)
        if handler.exception() is not None or len(handler._buffer) != 1:
            return None
        message, payload = handler._buffer[0][0]
        assert payload is EMPTY_PAYLOAD
        headers = tuple((name.lower(), value) for name, value in message.headers.items())
        handler._buffer.clear()
        return AiohttpHead(message.code, headers, not handler.should_close)
    finally:
        loop.close()


def body_by_aiohttp(raw: bytes) -> tuple[AiohttpHead, bytes] | None:
    """The one answer to GET that aiohttp reads in `raw`; None if it refuses it, or waits for more."""

    async def read() -> tuple[AiohttpHead, bytes] | None:
        handler = ResponseHandler(asyncio.get_running_loop())
        handler.set_response_params(read_until_eof=True, auto_decompress=False)
        handler.data_received(raw)
        if handler.exception() is not None or len(handler._buffer) != 1:
            return None
        message, payload = handler._buffer[0][0]
        if not payload.is_eof() or handler._tail:
            return None
        headers = tuple((name.lower(), value) for name, value in message.headers.items())
        body = await payload.read()
        handler._buffer.clear()
        return AiohttpHead(message.code, headers, not handler.should_close), body

    return asyncio.run(read())


def read_alike(raw: bytes) -> bool:
    """Whether `read_head` takes `raw`. Raises AssertionError if aiohttp does not read the same in it."""
    found = read_head(raw)
    if found is None:
        return False
    headers = tuple((name.lower(), value) for name, value in found.headers.items())
    assert by_aiohttp(raw) == AiohttpHead(found.status, headers, found.keeps), raw
    return True


def read_body_alike(raw: bytes, longest: int = 1000) -> bool:
    """Whether `Arriving` takes `raw`. Raises AssertionError if aiohttp does not read the same in it."""
    arriving = Arriving(longest)
    arriving.take(raw)
    found = arriving.found
    if found is None:
        return False
    headers = tuple((name.lower(), value) for name, value in found.headers.items())
    assert body_by_aiohttp(raw) == (AiohttpHead(found.status, headers, found.keeps), found.body), raw
    return True
