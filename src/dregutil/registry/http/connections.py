"""The connections to a registry: aiohttp's, and a lane for plain HEADs and GETs (`lane`).

Some servers accept only a few. So together there are at most an eighth more of them than requests that may be sent at
once (none more if those are fewer than 8): enough for GETs and HEADs in turn without opening connections each time.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from multidict import CIMultiDictProxy
from yarl import URL

from dregutil.registry.http.body import Limits, read_content
from dregutil.registry.http.deadline import Watched
from dregutil.registry.http.lane import Lane, lane_to

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Answer", "Connections"]

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "dregutil"}  # of each request
_FOR_ONE_MORE = 8  # requests at once, for which there may be one more connection


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, with a body no longer than the caller allowed."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: URL


class Connections:
    """Those to the origin of `base`, and to others. At most `most` requests are sent at once."""

    def __init__(self, base: URL, *, tls: ssl.SSLContext | bool, timeout: float, proxy: str | None, most: int) -> None:
        self._base = base
        self._proxy = proxy
        self._most = most + most // _FOR_ONE_MORE
        self._tls = tls
        self._timeout = timeout
        self._lane = lane_to(base, _HEADERS, tls=tls) if proxy is None else None
        # aiohttp's to the origin: in use, and kept for the next request (no more than that: the server closes some).
        self._used = self._kept = 0

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()
        if "_session" in self.__dict__:
            await self._session.close()

    def prepare(self) -> None:
        """Import aiohttp and make its session now, as the import takes 0.1 s: not between a look and its DELETE."""
        self._session  # noqa: B018 - made by the first access

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """aiohttp's connections, made when they are first needed: importing it takes half of a short command's time."""
        from dregutil.registry.http.new_session import new_session

        return new_session(_HEADERS, tls=self._tls, timeout=self._timeout)

    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, limits: Limits, watched: Watched
    ) -> Answer:
        """Send a request, and read its answer. Raises aiohttp's errors, and ProtocolError as `read_content` does."""
        lane = self._lane
        if lane is None or not self._is_here(url):
            return await self._by_aiohttp(method, url, headers, body, limits, watched)
        is_lanes = lane.takes(method) and body is None and not limits.cuts
        if is_lanes and (lane.has_idle or self._in_all(lane) < self._most):
            found = await lane.exchange(method, url.raw_path_qs, headers, limits.longest, watched)
            if found is not None:
                return Answer(found.status, found.headers, found.body, url)
        self._used += 1
        try:
            if self._kept:
                self._kept -= 1
            elif self._in_all(lane) > self._most:
                await lane.drop_idle()
            if is_lanes and self._kept and lane.takes(method):
                headers = {**headers, "Connection": "close"}  # so that the lane may open one
            answer = await self._by_aiohttp(method, url, headers, body, limits, watched)
            self._kept += answer.headers.get("Connection", "").lower() != "close"
        finally:
            self._used -= 1
        return answer

    def _is_here(self, url: URL) -> bool:
        """Whether a URL has the origin of the registry. `origin` alone takes as long as parsing a head."""
        base = self._base
        return (url.raw_authority == base.raw_authority and url.scheme == base.scheme) or url.origin() == base.origin()

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
