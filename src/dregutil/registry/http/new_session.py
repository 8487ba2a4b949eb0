"""A session of aiohttp's, with nothing that it would do by itself. Importing aiohttp takes longer than a small refresh
without it: `connections` imports this module when it needs a session."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import aiohttp

from dregutil.registry.permit import check_write

__all__ = ["new_session"]


class _Permitted(aiohttp.ClientRequest):
    """A write is checked again when its connection is there: to make one may have taken seconds, or this process was
    stopped meanwhile. Nothing else comes between the check and the first byte."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if self.method not in ("GET", "HEAD"):
            check_write()
        return await super().send(conn)


def new_session(headers: Mapping[str, str], *, tls: ssl.SSLContext | bool, timeout: float) -> aiohttp.ClientSession:
    """No cookies, no decompression, no retries, no limit of connections. `headers` are those of each request; `timeout`
    is for connecting, in seconds."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        request_class=_Permitted,
    )
    # aiohttp sends PUT and DELETE once more on a connection that was dropped: the first may have been carried out.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch; a test counts the requests
    return session
