"""What every request passes before a route sees it, and what every answer has.

In this order: the name of the server that was asked for (a page of another name that leads here, "DNS rebinding", gets
nothing), who asks, whether another site's page asks in their name, and whether they may.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from dregutil.errors import DregutilError
from dregutil.serve.answers import Failed, RequestError, as_page, failure
from dregutil.serve.endpoints import API, PAGES, Endpoint, endpoint
from dregutil.serve.patience import Patience
from dregutil.serve.people import PERSON, Person, Role
from dregutil.serve.site import Options

__all__ = ["HEADERS", "Guard"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_MOST_AT_ONCE = 512  # requests, with the streams of events
_LONGEST_BODY = 20.0  # seconds until the body of a request has arrived
_STATUS_OF_EXIT = {2: 400, 4: 403, 5: 409}

_log = logging.getLogger("dregutil.serve")


class Guard:
    """The checks. `token` is in the address that is printed, until a browser has exchanged it for a cookie."""

    def __init__(self, options: Options, patience: Patience) -> None:
        self._options = options
        self._patience = patience
        self._hosts = _LOOPBACK | {options.host.lower()} | {host.lower() for host in options.hosts}
        self._cookie = secrets.token_urlsafe(32)
        self._at_once = 0
        self.token = "" if options.user_header else secrets.token_urlsafe(32)
        self.port = options.port

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The answer to a request: an error as JSON, or as a page where a page was asked for. Nothing that failed shows
        its traceback."""
        if self._at_once >= _MOST_AT_ONCE:
            return failure(503, "too many requests at once", "try again")
        self._at_once += 1
        try:
            with self._patience.busy(request):
                found = await self._answered(request, handler)
        finally:
            self._at_once -= 1
        is_page = not request.path.startswith(API) and "text/html" in request.headers.get("Accept", "")
        return as_page(found) if is_page and isinstance(found, Failed) else found

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_host(request)
            entered = self._entered(request)
            return entered or await handler(await self._checked(request))
        except RequestError as error:
            return failure(error.status, error.message, error.advice)
        except DregutilError as error:
            return failure(_STATUS_OF_EXIT.get(error.exit_code, 503), error.message, error.advice)
        except web.HTTPException as error:
            return _of_status(error)
        except TimeoutError:
            return failure(408, "the request took too long to arrive")
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort
            _log.error("a request failed: %s: %s", type(error).__name__, error, exc_info=_is_debugged())
            return failure(500, "the request failed", "this is a defect; the server's log says more")

    def _check_host(self, request: web.Request) -> None:
        if request.path == "/healthz":  # it is asked by address, and tells nothing
            return
        host = _name_of(request.headers.get("Host", ""))
        if host is None or host not in self._hosts:
            raise RequestError(
                403,
                "the server does not answer to this name",
                "start it with --host NAME for each name under which it is reached",
            )

    def _entered(self, request: web.Request) -> web.Response | None:
        """The answer to the address with the token: a cookie, and the way to the same page without the token."""
        given = request.query.get("token")
        if given is None or self._options.user_header or request.method != "GET" or request.path.startswith(API):
            return None
        if not self._has_cookie(request):
            if not self.token or not _is_same(given, self.token):
                raise RequestError(401, "this address was used before, or is wrong", "start `dregutil serve` again")
            self.token = ""
        resource = request.match_info.route.resource  # of what is no page, the path may lead elsewhere: //host
        where = request.rel_url.raw_path if resource is not None and resource.canonical in PAGES else "/"
        found = web.Response(status=303, headers={"Location": where})
        found.set_cookie(self._cookie_name, self._cookie, httponly=True, samesite="Strict", path="/")
        return found

    @property
    def _cookie_name(self) -> str:
        return f"dregutil_{self.port}"  # a browser sends a cookie to every port of a host

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie_name, "")
        return _is_same(given, self._cookie)

    async def _checked(self, request: web.Request) -> web.Request:
        """The request with its person. Raises RequestError."""
        found = _endpoint_of(request)
        if found is not None and found.role is Role.NOBODY:
            return request
        person = request[PERSON] = self._person(request)
        _check_site(request)
        least = Role.VIEWER if found is None else found.role  # what is no route is refused after this
        if not person.has(least):
            needed = least.name.lower()
            raise RequestError(
                403,
                f"{person.name} may not do this: it needs the role {needed}",
                f"whoever runs the server gives it with --{needed} NAME",
            )
        if request.method not in ("GET", "HEAD"):
            if request.content_type != "application/json":
                raise RequestError(400, "the body of a request is JSON", "send Content-Type: application/json")
            try:
                async with asyncio.timeout(_LONGEST_BODY):
                    await request.read()
            except web.RequestPayloadError as error:  # it says to be packed, and is not
                raise RequestError(400, "the body of the request cannot be read") from error
        return request

    def _person(self, request: web.Request) -> Person:
        header = self._options.user_header
        if header is None:
            if not self._has_cookie(request):
                raise RequestError(401, "you are not logged in", "open the address that `dregutil serve` printed")
            return self._options.owner
        if not self._is_trusted(request.remote):
            raise RequestError(403, "only the proxy may ask this server", "name its address with --trusted-proxy")
        given = request.headers.getall(header, [])
        if len(given) != 1 or not given[0].strip():
            raise RequestError(401, "you are not logged in: the proxy named nobody", f"it must set the header {header}")
        return self._options.roles.of(given[0].strip())

    def _is_trusted(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._options.trusted)


def _endpoint_of(request: web.Request) -> Endpoint | None:
    """The row of the route that a request leads to; None for none. Raises RequestError for a route without a row."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    found = endpoint(request.method, resource.canonical)
    if found is None:
        raise RequestError(403, "this route has no role")
    return found


def _check_site(request: web.Request) -> None:
    """Raises RequestError if the page of another site asks: always if it changes something, and for the API."""
    site = request.headers.get("Sec-Fetch-Site")
    if request.method in ("GET", "HEAD"):
        if site in ("cross-site", "same-site") and request.path.startswith(API):
            raise RequestError(403, "another site may not ask this")
        return
    origin = request.headers.get("Origin")
    if site is None and origin is None:
        raise RequestError(
            403, "it is not known which page asks", "send the header Origin with the address of this server"
        )
    # A proxy may change Host: then the browser alone knows whether the origin is this server.
    if site != "same-origin" and (site is not None or not _is_own(request, origin or "")):
        raise RequestError(403, "another site may not ask this")


def _is_own(request: web.Request, origin: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    except ValueError:  # it is no address
        return False


def _is_same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode())  # headers may have any bytes


def _name_of(host: str) -> str | None:
    """The name in a Host header, without its port; None if there is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return None if parts.netloc != host or "@" in host else parts.hostname


def _of_status(error: web.HTTPException) -> web.Response:
    if error.status < 400:
        return web.Response(status=error.status, headers={"Location": error.headers.get("Location", "/")})
    said = {
        404: "there is no such page",
        405: "this cannot be done here",
        413: "the body of the request is too large: at most 1 MB",
    }
    found = failure(error.status, said.get(error.status, ""))
    if "Allow" in error.headers:
        found.headers["Allow"] = error.headers["Allow"]
    return found


def _is_debugged() -> bool:
    return _log.isEnabledFor(logging.DEBUG)
