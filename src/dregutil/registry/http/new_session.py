"""A session of aiohttp's, with nothing that it would do by itself."""

from __future__ import annotations

import ssl

import aiohttp

__all__ = ["HEADERS", "new_session"]

HEADERS = {"Accept-Encoding": "identity", "User-Agent": "dregutil"}
"""Those of each request."""


def new_session(*, tls: ssl.SSLContext | bool, timeout: float) -> aiohttp.ClientSession:
    """No cookies, no decompression, no retries, no limit of connections; `timeout` is for connecting, in seconds."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=HEADERS,
    )
    # aiohttp sends PUT and DELETE once more on a connection that was dropped: the first may have been carried out.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch; a test counts the requests
    return session
