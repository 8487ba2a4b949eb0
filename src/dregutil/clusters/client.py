"""GET requests to one API server: the only module that calls a cluster.

Any answer but a whole JSON object with status 200 raises RefusedError, which names the context and what was asked.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from dregutil.clusters.kubeconfig import Access
from dregutil.errors import RefusedError

__all__ = ["Client", "GoneError", "client_to"]

_LONGEST = 256 << 20  # bytes of an answer
_TIMES = 4  # that a request is sent, if the server asks to come again later
_LONGEST_WAIT = 10.0  # seconds
_GONE, _TOO_MANY = 410, 429
_ADVICE = {
    401: "its credentials are not accepted; nothing was removed",
    403: "its login must be allowed to `list` this kind in all namespaces, or `ignore` names it; nothing was removed",
    503: "what serves this kind does not answer; `ignore` can leave it out; nothing was removed",
}
_OTHER = "nothing was removed: without the cluster's answer, what is running might go"


class GoneError(RefusedError):
    """The rest of a list has expired: 410."""


@asynccontextmanager
async def client_to(access: Access, *, timeout: float = 60.0) -> AsyncIterator[Client]:
    """A client of the cluster; `timeout` is in seconds, for each request. Raises RefusedError if TLS cannot be set up,
    or if a credential would be sent without it."""
    has_secret = bool(access.token or access.login)
    place = urlsplit(access.server)
    if place.scheme == "http" and has_secret and place.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise RefusedError(f"{access.name}: its login would be sent without TLS to {access.server}", advice=_OTHER)
    connector = aiohttp.TCPConnector(ssl=_tls(access), limit=16)
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 10.0))
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=limits, cookie_jar=jar) as session:
        yield Client(access, session)


class Client:
    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self.access = access
        self._session = session
        self._proxy = _proxy(access.server)
        self._headers = {"Accept": "application/json", **_authorization(access)}

    async def get(self, what: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The object at a path. `what` names it in errors. Raises GoneError for 410, RefusedError for anything else
        that is not a whole JSON object."""
        url = URL(f"{self.access.server}{path}").update_query(query or {})
        for attempt in range(_TIMES):
            status, wait, body = await self._ask(what, url)
            if status != _TOO_MANY or attempt == _TIMES - 1:
                break
            await asyncio.sleep(min(wait, _LONGEST_WAIT))
        if status != 200:
            kind = GoneError if status == _GONE else RefusedError
            raise kind(
                f"{self.access.name}: {what} cannot be read: HTTP {status}{_message(body)}",
                advice=_ADVICE.get(status, _OTHER),
            )
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise self._refused(what, "the answer is not JSON, or is cut short") from None
        if not isinstance(found, dict):
            raise self._refused(what, "the answer is not a JSON object")
        return found

    async def _ask(self, what: str, url: URL) -> tuple[int, float, bytes]:
        """The status of an answer, the seconds to wait before the next request, and its body."""
        server_name = self.access.server_name or None
        try:
            # A redirect is not followed: it would take the login along.
            async with self._session.get(
                url, headers=self._headers, allow_redirects=False, proxy=self._proxy, server_hostname=server_name
            ) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > _LONGEST:
                        raise self._refused(what, f"the answer is longer than {_LONGEST:,} bytes")
                after = answer.headers.get("Retry-After", "")
                return answer.status, float(after) if after.isdigit() else 1.0, bytes(body)
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise self._refused(what, f"the TLS connection failed ({_reason(error)})") from error
        except TimeoutError:
            raise self._refused(what, "no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._refused(what, f"no whole answer ({_reason(error)})") from error

    def _refused(self, what: str, why: str) -> RefusedError:
        return RefusedError(f"{self.access.name}: {what} cannot be read: {why}", advice=_OTHER)


def _reason(error: Exception) -> str:
    """What failed, without the request and its headers."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (getattr(inner, "strerror", None) or getattr(inner, "verify_message", None) or type(error).__name__)[:200]


def _message(body: bytes) -> str:
    """The message of an API server's Status; empty if the body is something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    message = found.get("message") if isinstance(found, dict) and found.get("kind") == "Status" else None
    return f" ({message[:300]})" if isinstance(message, str) and message else ""


def _authorization(access: Access) -> dict[str, str]:
    if access.token:
        if not access.token.isprintable() or not access.token.isascii():
            raise RefusedError(f"{access.name}: its token has characters that no header can have", advice=_OTHER)
        return {"Authorization": f"Bearer {access.token}"}
    if access.login is not None:
        pair = ":".join(access.login).encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _proxy(server: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY), as kubectl uses it."""
    place = urlsplit(server)
    if place.hostname in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(place.netloc):
        return None
    return urllib.request.getproxies().get(place.scheme)


def _tls(access: Access) -> ssl.SSLContext | bool:
    if access.server.startswith("http://"):
        return True
    try:
        context = ssl.create_default_context(cadata=access.authority)
        # Python 3.13 is strict about CAs; those that Kubernetes' tools made for years have no key identifier.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if access.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if access.certificate:
            _load_pair(context, access)
    except (ssl.SSLError, ValueError) as error:
        what = getattr(error, "reason", None) or "not PEM"
        raise RefusedError(f"{access.name}: its certificates cannot be used: {what}", advice=_OTHER) from None
    return context


def _load_pair(context: ssl.SSLContext, access: Access) -> None:
    """Load the client certificate. OpenSSL reads it from files: these are private, and gone at once."""
    with tempfile.TemporaryDirectory(prefix="dregutil-") as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(access.certificate + b"\n" + access.key)
        context.load_cert_chain(pair, password=lambda: "")  # without a password, OpenSSL would ask the terminal
