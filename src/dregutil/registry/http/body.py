"""The body of an answer: never longer than allowed, also where it inflates."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from dregutil import clock
from dregutil.errors import ProtocolError
from dregutil.registry.http.arriving import LONGEST_ERROR
from dregutil.registry.http.deadline import Watched
from dregutil.registry.http.network_errors import host_and_port

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Limits", "read_content"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bytes of an answer are read, and whether a longer one is cut or refused.

    After `begun_by` (`clock.now`) the request is no longer sent. An urgent one is sent before those that wait.
    `only_reads`: it changes nothing, whatever its method, and may be sent again.
    """

    longest: int
    cuts: bool = False
    begun_by: float = float("inf")
    urgent: bool = False
    only_reads: bool = False

    def is_too_late(self, wait: float) -> bool:
        """Whether it is, in so many seconds, after `begun_by`."""
        return clock.now() + wait > self.begun_by

    def may_repeat(self, method: str) -> bool:
        """Whether a request may be sent again whose answer was lost."""
        return self.only_reads or method in ("GET", "HEAD")


async def read_content(method: str, response: aiohttp.ClientResponse, limits: Limits, watched: Watched) -> bytes:
    """The body; the connection is closed if it is not read completely, and free for the next request if it is."""
    try:
        content = b"" if method == "HEAD" else await _read(response, limits, watched)
    except BaseException:
        response.close()
        raise
    response.release()
    return content


async def _read(response: aiohttp.ClientResponse, limits: Limits, watched: Watched) -> bytes:
    """The complete body, if it is no longer than allowed; the body of an error is cut instead."""
    is_error = response.status >= 400 or limits.cuts
    most = LONGEST_ERROR if response.status >= 400 else limits.longest
    announced = response.content_length
    chunks: list[bytes] = []
    size = 0
    if announced is None or announced <= most or is_error:
        async for chunk in response.content.iter_any():
            watched.heard_at = time.monotonic()
            size += len(chunk)
            chunks.append(chunk)
            if size > most:
                break
    if size > most or (announced is not None and announced > most):
        if not is_error:
            raise ProtocolError(f"{host_and_port(response.url)} sends an answer of more than {most:,} bytes")
        response.close()
    body = b"".join(chunks)[:most]
    encoding = response.headers.get("Content-Encoding", "")
    if encoding in ("", "identity"):
        return body
    return _inflated(body, encoding, most, response.url)


def _inflated(body: bytes, encoding: str, most: int, url: URL) -> bytes:
    """The content of a body that is compressed although that was not asked for; at most `most` bytes."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"{host_and_port(url)} sends a body with an unsupported Content-Encoding")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        found = inflater.decompress(body, most)
    except zlib.error as error:
        raise ProtocolError(f"{host_and_port(url)} sends a compressed body that is damaged") from error
    if inflater.unconsumed_tail:
        raise ProtocolError(f"{host_and_port(url)} sends a body that decompresses to more than {most:,} bytes")
    return found
