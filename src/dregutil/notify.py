"""Sends one message to a webhook. Touches the network, the proxy variables of the environment, and nothing else.

It is no part of the connection to a registry: it has none of its logins, certificates and addresses. A URL of a webhook
is a secret, so nothing here returns, logs or raises one; nor is the text of a network error used, which may quote it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import aiohttp

__all__ = ["TIMEOUT", "Webhook", "deliver"]

TIMEOUT = 10.0  # seconds, for each of two attempts
_PAUSE = 1.0  # seconds between them
_MOST_REDIRECTS = 3
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a message goes; `token`, if there is one, is sent as a bearer token."""

    url: str = field(repr=False)
    token: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """The host and port, which are no secret. Raises ValueError if the URL has none, or is not one of HTTP."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not self.url.isprintable():
            raise ValueError
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return host if parts.port is None else f"{host}:{parts.port}"

    @property
    def is_private(self) -> bool:
        """Whether it is sent encrypted, or does not leave this machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "https" or parts.hostname in _LOOPBACK


@dataclass(frozen=True, slots=True)
class _Failed:
    why: str
    is_final: bool


def deliver(webhook: Webhook, body: bytes, *, timeout: float = TIMEOUT, pause: float = _PAUSE) -> str:
    """POST a JSON body, and once more if there is no answer or the server is at fault. Returns why it failed, or an
    empty text. `timeout` and `pause` are in seconds."""
    return asyncio.run(_deliver(webhook, body, timeout, pause))


async def _deliver(webhook: Webhook, body: bytes, timeout: float, pause: float) -> str:
    failed = await _attempt(webhook, body, timeout)
    if failed is not None and not failed.is_final:
        await asyncio.sleep(pause)
        failed = await _attempt(webhook, body, timeout)
    return "" if failed is None else failed.why


async def _attempt(webhook: Webhook, body: bytes, timeout: float) -> _Failed | None:
    import aiohttp  # which a run without a notification does not need

    try:
        async with asyncio.timeout(timeout), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
            return await _post(session, webhook, body)
    except TimeoutError:
        return _Failed(f"no answer within {timeout:g} s", is_final=False)
    except aiohttp.ClientConnectorCertificateError:
        return _Failed("its certificate is not trusted", is_final=True)
    except aiohttp.ClientConnectorError as error:
        return _Failed(f"no connection: {os.strerror(error.errno) if error.errno else 'no such host'}", is_final=False)
    except (aiohttp.ClientError, OSError, ValueError):
        return _Failed("the connection broke off", is_final=False)


async def _post(session: aiohttp.ClientSession, webhook: Webhook, body: bytes) -> _Failed | None:
    headers = {"Content-Type": "application/json", "User-Agent": "dregutil"}
    if webhook.token:
        headers["Authorization"] = f"Bearer {webhook.token}"
    url = webhook.url
    for _ in range(_MOST_REDIRECTS + 1):
        async with session.post(url, data=body, headers=headers, allow_redirects=False, proxy=_proxy(url)) as answer:
            if answer.status < 300:
                return None
            if answer.status not in (307, 308):
                return _Failed(f"it answered {answer.status}", is_final=answer.status < 500 and answer.status != 429)
            there = urljoin(url, answer.headers.get("Location", ""))
        if _origin(there) != _origin(url):
            return _Failed("it redirects to another host, which is not followed", is_final=True)
        url = there
    return _Failed("it redirects again and again", is_final=True)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return "", None, None


def _proxy(url: str) -> str | None:
    """The proxy for a URL from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), by curl's rules."""
    import urllib.request  # with http.client, which is not needed otherwise

    parts = urlsplit(url)
    if parts.hostname in _LOOPBACK or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return urllib.request.getproxies().get(parts.scheme)
