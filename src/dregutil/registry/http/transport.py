"""HTTP exchanges with a registry: authorization, bounded bodies, retries, and dregutil's own errors.

Only GET and HEAD are sent again, and requests that the server refused before it began them (429). A write whose answer
is lost raises OutcomeUnknownError, one that is held back for too long raises PushedBackError: the caller has to look at
the registry before it decides what to do.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from yarl import URL

from dregutil.errors import (
    CertificateError,
    CutShortError,
    OutcomeUnknownError,
    ProtocolError,
    PushedBackError,
    RegistryError,
    ThrottledError,
    UnreachableError,
)
from dregutil.registry.auth.authenticator import Authenticator, TokenRequest
from dregutil.registry.auth.keyring import Keyring
from dregutil.registry.auth.logins import Logins
from dregutil.registry.http.body import Limits
from dregutil.registry.http.connections import Answer, Connections
from dregutil.registry.http.deadline import LONGEST_ANSWER, Watch
from dregutil.registry.http.network_errors import as_own_error, connection_was_refused, host_and_port, is_of_the_network
from dregutil.registry.http.retry import MOST_ATTEMPTS, Pace, asked_wait, is_temporary, wait_before
from dregutil.registry.http.server_warnings import ServerWarnings
from dregutil.registry.http.throttle import PATIENCE, shared_gate
from dregutil.registry.permit import begun_by, check_write

__all__ = ["READING", "WRITING", "Answer", "Transport"]

_log = logging.getLogger("dregutil.http")

READING = frozenset(("GET", "HEAD"))
WRITING = frozenset(("DELETE", "POST", "PUT"))

LONGEST_BODY = 64 * 1024 * 1024
_LONGEST_TOKEN = 1024 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_CHALLENGED = (401, 403)
_FIRST_ATTEMPTS = 3  # as long as the server has never answered
_NO_END = float("inf")
MOST_REFUSALS = 12  # of one request, while others are answered


class Transport:
    """Exchanges with one registry. `methods` are all that it will ever send: a reader has no DELETE and no PUT."""

    def __init__(
        self,
        base_url: str,
        logins: Authenticator | Logins,
        *,
        methods: frozenset[str] = READING,
        tls: ssl.SSLContext | bool = True,
        concurrency: int = 32,
        timeout: float = 30.0,
        patience: float = PATIENCE,
        proxy: str | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        """`timeout`: seconds without receiving anything; for a DELETE, which may take a server long, 20 times that. In
        20 times that every answer must be complete.

        `patience`: for how many seconds the server may refuse everything. `on_warning` receives the server's warnings.
        """
        self.base = URL(base_url.rstrip("/"), encoded=True)
        self._prefix = self.base.raw_path.rstrip("/")
        self.methods = methods
        self.gate = shared_gate(concurrency)
        self.pace = Pace()
        self._logins: Logins = Keyring(logins) if isinstance(logins, Authenticator) else logins
        self._wait = timeout
        self._patience = patience
        self._watch = Watch(timeout)
        self._connections = Connections(self.base, tls=tls, timeout=timeout, proxy=proxy, most=max(1, concurrency))
        if methods & WRITING:
            self._connections.prepare()
        self._has_answered = False
        self.examine: Callable[[Answer], Awaitable[None]] | None = None
        """Called with the answer to each read; it may raise."""
        self.warnings = ServerWarnings(on_warning, self.redacted)

    def writing(self) -> Transport:
        """The same connections, logins and pace, for one who may change the registry."""
        found = copy.copy(self)
        found.methods = READING | WRITING
        self._connections.prepare()
        return found

    def logged_in(self, logins: Logins) -> Transport:
        """The same connections and pace, with another login: for another API of the same host."""
        found = copy.copy(self)
        found._logins = logins  # noqa: SLF001 - its own class
        found.examine = None
        return found

    async def close(self) -> None:
        await self._connections.close()

    @property
    def scoped_paths(self) -> tuple[str, ...]:
        """The namespaces that have their own credentials."""
        return self._logins.paths

    @property
    def token_server(self) -> tuple[str, str]:
        """The realm and service of the registry's token server; empty without one."""
        return self._logins.token_server

    def redacted(self, text: str) -> str:
        """`text` without passwords and tokens."""
        return self._logins.redacted(text)

    def url(self, path: str) -> URL:
        """The URL of `path`, which begins with a slash and is encoded."""
        path, _, query = path.partition("?")
        return URL.build(
            scheme=self.base.scheme,
            authority=self.base.raw_authority,
            path=self._prefix + path,
            query_string=query,
            encoded=True,
        )

    async def send(
        self,
        method: str,
        url: URL,
        scopes: tuple[str, ...],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        longest: int = LONGEST_BODY,
        begun_by: float = _NO_END,
        urgent: bool = False,
        follow: bool = True,
    ) -> Answer:
        """Send a request and read its answer of at most `longest` bytes. An urgent request is sent before those that
        wait. `follow`: redirects of a read are followed.

        A request that the server refuses because of its load (429) is sent again when the rate allows; where that
        is after `begun_by` (`clock.now`), and where a write waited so long, PushedBackError is raised instead. Raises
        UnreachableError, CertificateError, ThrottledError, LoginError, ProtocolError, and OutcomeUnknownError for a
        write whose answer was lost. An answer with any status that is not temporary is returned, unless `examine`
        raises.
        """
        limits = _limits(longest, urgent) if begun_by == _NO_END else Limits(longest, begun_by=begun_by, urgent=urgent)
        answer = await self._sent(method, url, scopes, headers or {}, body, limits, follow=follow)
        if self.examine is not None and method in READING:
            await self.examine(answer)
        return answer

    async def get_unexamined(self, url: URL, *, longest: int) -> Answer:
        """GET, for `examine` itself."""
        return await self._sent("GET", url, (), {}, None, Limits(longest), follow=True)

    async def query(
        self,
        url: URL,
        scopes: tuple[str, ...],
        *,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        longest: int = LONGEST_BODY,
    ) -> Answer:
        """POST a question that changes nothing: allowed for a reader, and sent again as a GET is.

        Raises as `send` does for a GET. A redirect is not followed.
        """
        limits = Limits(longest, only_reads=True)
        return await self._authorized("POST", url, scopes, headers or {}, body, limits)

    async def _sent(
        self,
        method: str,
        url: URL,
        scopes: tuple[str, ...],
        headers: Mapping[str, str],
        body: bytes | None,
        limits: Limits,
        *,
        follow: bool,
    ) -> Answer:
        if method not in self.methods:
            raise ProtocolError(f"this client sends no {method}")
        answer = await self._authorized(method, url, scopes, headers, body, limits)
        if method in READING and follow:
            redirects = 0
            while answer.status in _REDIRECTS and "Location" in answer.headers:
                redirects += 1
                if redirects > _MOST_REDIRECTS:
                    raise ProtocolError(f"too many redirects from {host_and_port(url)}")
                answer = await self._follow(method, answer, scopes, headers, Limits(limits.longest))
        return answer

    async def first_byte(self, url: URL, scopes: tuple[str, ...]) -> Answer:
        """GET the first byte of something that may be large, and do not wait for the rest.

        Raises as `send` does. A body that ends before its first byte raises CutShortError, and is not requested again.
        """
        limits = Limits(longest=1, cuts=True)
        headers = {"Range": "bytes=0-0"}
        answer = await self._authorized("GET", url, scopes, headers, None, limits)
        if answer.status in _REDIRECTS and "Location" in answer.headers:
            answer = await self._follow("GET", answer, scopes, headers, limits)
        return answer

    async def _follow(
        self, method: str, answer: Answer, scopes: tuple[str, ...], headers: Mapping[str, str], limits: Limits
    ) -> Answer:
        """Follow a redirect; to another origin, without authorization."""
        try:
            target = answer.url.join(URL(answer.headers["Location"], encoded=True))
        except ValueError as error:
            raise ProtocolError(f"{host_and_port(answer.url)} redirects to an invalid URL") from error
        if target.scheme != "https" and answer.url.scheme == "https":
            raise ProtocolError(f"{host_and_port(answer.url)} redirects from https to {target.scheme}")
        if target.scheme not in ("http", "https") or target.user is not None:
            raise ProtocolError(f"{host_and_port(answer.url)} redirects to an unsupported URL")
        if target.origin() == self.base.origin():
            return await self._authorized(method, target, scopes, headers, None, limits)
        return await self._patiently(method, target, headers, None, limits)

    async def _authorized(
        self,
        method: str,
        url: URL,
        scopes: tuple[str, ...],
        headers: Mapping[str, str],
        body: bytes | None,
        limits: Limits,
    ) -> Answer:
        target = url.raw_path_qs
        attempt = 0
        while True:
            authorization = self._logins.known_headers(method, target, scopes)
            if authorization is None:
                authorization = await self._logins.headers(method, target, scopes, fetch=self._fetch_token)
            merged = {**headers, **authorization} if authorization else headers
            answer = await self._patiently(method, url, merged, body, limits)
            if answer.status not in _CHALLENGED:
                return answer
            again = await self._logins.challenged(
                answer.status,
                answer.headers.getall("WWW-Authenticate", []),
                scopes,
                attempt=attempt,
                fetch=self._fetch_token,
                sent=authorization,
            )
            if not again:
                return answer
            attempt += 1

    async def _fetch_token(self, request: TokenRequest) -> tuple[int, bytes]:
        url = URL(request.url, encoded=True).update_query(request.params)
        body, headers = request.json, dict(request.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        elif request.form is not None:
            body = urlencode(request.form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer = await self._patiently(request.method, url, headers, body, Limits(_LONGEST_TOKEN))
        except OutcomeUnknownError as error:  # a POST, but it changes nothing in the registry
            raise UnreachableError(f"the token server {host_and_port(url)} gave no complete answer") from error
        return answer.status, answer.body

    async def _patiently(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, limits: Limits
    ) -> Answer:
        """One exchange, repeated where that is safe and may help."""
        attempt = refused = 0
        while True:
            try:
                answer = await self._exchange(method, url, headers, body, limits, refused)
            except UnreachableError as error:
                if not self._may_help(method, error, limits, attempt + 1):
                    raise
                asked = None
            else:
                self._has_answered = True
                if answer.status == 429:
                    refused += 1
                    self._check_patience(url, refused)
                    continue  # the gate delays it
                if not limits.may_repeat(method) or not is_temporary(answer.status):
                    return answer
                if attempt + 1 >= MOST_ATTEMPTS:
                    raise UnreachableError(
                        f"{host_and_port(url)} failed to answer {MOST_ATTEMPTS} times (status {answer.status})"
                    )
                asked = asked_wait(answer.headers, datetime.now(UTC))
            await asyncio.sleep(wait_before(attempt, asked))
            attempt += 1

    def _may_help(self, method: str, error: UnreachableError, limits: Limits, sent: int) -> bool:
        """Whether to send a request again that was sent `sent` times and failed with `error`. Before the server has
        answered once, the address may be wrong: where no connection can be made, it is not sent again then."""
        if not limits.may_repeat(method) or isinstance(error, CertificateError | ThrottledError):
            return False
        most = MOST_ATTEMPTS if self._has_answered else 1 if connection_was_refused(error) else _FIRST_ATTEMPTS
        if sent >= most:
            return False
        return not (limits.cuts and isinstance(error, CutShortError))

    def _check_patience(self, url: URL, refused: int) -> None:
        """Raise if a request that was refused `refused` times because of load should be given up."""
        if self.gate.throttle.is_hopeless(time.monotonic(), self._patience):
            raise ThrottledError(
                f"{host_and_port(url)} has refused every request for {self._patience:.0f} s (status 429)"
            )
        if refused >= MOST_REFUSALS:
            raise RegistryError(
                f"{host_and_port(url)} refused one request {refused} times because of its load, and answered others",
                status=429,
            )

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, limits: Limits, refused: int
    ) -> Answer:
        gate = self.gate
        if gate.throttle.is_limited and limits.is_too_late(gate.throttle.next_send_at(now := time.monotonic()) - now):
            raise PushedBackError(f"{host_and_port(url)} is limiting requests: the {method} was not sent")
        await gate.enter(urgent=limits.urgent, refused=refused > 0)
        longest = LONGEST_ANSWER * self._wait
        watched = self._watch.begin(longest if method == "DELETE" else self._wait, longest)
        started = watched.started
        try:
            if method in WRITING and not limits.only_reads:
                with begun_by(limits.begun_by, f"the {method} to {host_and_port(url)}"):
                    check_write()
                    answer = await self._connections.exchange(method, url, headers, body, limits, watched)
            else:
                answer = await self._connections.exchange(method, url, headers, body, limits, watched)
            now = time.monotonic()
            self._learn_pace(answer, started, now)
            if "Warning" in answer.headers and url.origin() == self.base.origin():
                self.warnings.note(answer.headers.getall("Warning"))
            if _log.isEnabledFor(logging.DEBUG):
                self._log(method, url, answer.status, now - started)
            return answer
        except asyncio.CancelledError:
            if watched.error is None or not watched.uncancel():
                raise
            gate.throttle.connection_lost(started, time.monotonic())
            raise as_own_error(watched.error, _shown(method, limits), url, self._wait) from None
        except Exception as error:
            if not is_of_the_network(error):
                raise
            gate.throttle.connection_lost(started, time.monotonic())
            raise as_own_error(error, _shown(method, limits), url, self._wait) from error
        finally:
            self._watch.end(watched)
            gate.leave()

    def _learn_pace(self, answer: Answer, started: float, now: float) -> None:
        """Note how long an answer took, and whether the server limits requests."""
        self.pace.took(now - started)
        if answer.status in (429, 503):
            asked = asked_wait(answer.headers, datetime.now(UTC))
            self.gate.throttle.pushed_back(started, now, asked)
        else:
            self.gate.throttle.succeeded(started, now)

    def _log(self, method: str, url: URL, status: int, seconds: float) -> None:
        """Log an exchange: with another origin, only its host, since the rest of the URL may be a signature."""
        shown = self.redacted(url.raw_path if url.origin() == self.base.origin() else host_and_port(url))
        _log.debug("%s %s: %d in %.0f ms", method, shown, status, seconds * 1000)


@functools.lru_cache(maxsize=16)
def _limits(longest: int, urgent: bool) -> Limits:  # noqa: FBT001 - by position it is cached once
    """The limits of most requests, made once."""
    return Limits(longest, urgent=urgent)


def _shown(method: str, limits: Limits) -> str:
    """The method by which an error of the network is judged: a POST that only reads fails as a GET does."""
    return "GET" if limits.only_reads else method
