"""The connections to a registry: aiohttp's, and a lane for HEADs (`lane`).

Together there are never more of them than requests that may be sent at once: some servers accept no more.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import CIMultiDictProxy
from yarl import URL

from dregutil.registry.http.body import Limits, read_content
from dregutil.registry.http.deadline import Watched
from dregutil.registry.http.lane import Lane, lane_to
from dregutil.registry.http.new_session import HEADERS, new_session

__all__ = ["Answer", "Connections"]

_FOR_ONE_GET = 32  # connections, of which aiohttp keeps one for the next GET while there are HEADs


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, with a body no longer than the caller allowed."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: URL


class Connections:
    """At most `most` to the origin of `base`, and those to others."""

    def __init__(self, base: URL, *, tls: ssl.SSLContext | bool, timeout: float, proxy: str | None, most: int) -> None:
        self._origin = base.origin()
        self._proxy = proxy
        self._most = most
        self._session = new_session(tls=tls, timeout=timeout)
        self._lane = lane_to(base, HEADERS, tls=tls) if proxy is None else None
        # aiohttp's to the origin: in use, and kept for the next request (no more than that: the server closes some).
        self._used = self._kept = 0

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()
        await self._session.close()

    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, limits: Limits, watched: Watched
    ) -> Answer:
        """Send a request, and read its answer. Raises aiohttp's errors, and ProtocolError as `read_content` does."""
        lane = self._lane
        if lane is None or url.origin() != self._origin:
            return await self._by_aiohttp(method, url, headers, body, limits, watched)
        if method == "HEAD" and lane.is_open and (lane.has_idle or self._in_all(lane) < self._most):
            found = await lane.head(url.raw_path_qs, headers)
            if found is not None:
                return Answer(found.status, found.headers, b"", url)
        self._used += 1
        try:
            if self._kept:
                self._kept -= 1
            elif self._in_all(lane) > self._most:
                await lane.drop_idle()
            if method == "HEAD" and lane.is_open and self._kept >= max(1, self._most // _FOR_ONE_GET):
                headers = {**headers, "Connection": "close"}  # then the lane may open one
            answer = await self._by_aiohttp(method, url, headers, body, limits, watched)
            self._kept += answer.headers.get("Connection", "").lower() != "close"
        finally:
            self._used -= 1
        return answer

    def _in_all(self, lane: Lane) -> int:
        return lane.size + self._used + self._kept

    async def _by_aiohttp(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        limits: Limits,
        watched: Watched,
    ) -> Answer:
        response = await self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, proxy=self._proxy
        )
        watched.heard_at = time.monotonic()
        content = await read_content(method, response, limits, watched)
        return Answer(response.status, response.headers, content, url)
