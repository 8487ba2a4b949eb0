"""Bearer tokens: how they are requested, how long they are valid, and which requests share them.

Follows distribution's token specification (docs/spec/auth/token, oauth). Opens no sockets: the caller sends each
`TokenRequest`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dregutil.errors import (
    AccessError,
    DeniedError,
    DregutilError,
    LoginError,
    ProtocolError,
    ThrottledError,
    UnreachableError,
)
from dregutil.registry.auth.challenge import Challenge
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.identity import Identity
from dregutil.registry.auth.realm import check_realm, host_of

__all__ = ["BearerTokens", "TokenFetch", "TokenRequest"]

CLIENT_ID = "dregutil"

_DEFAULT_LIFE = 60.0  # seconds, by the specification, if the answer names none
_LONGEST_LIFE = 24 * 3600.0
_EARLIEST_RENEWAL = 10.0  # seconds before it expires, or a fifth of its life if that is less
# Seconds: a token younger than this may have been fetched after the refused request was sent.
_NEW_FOR = 10.0
_MOST_TOKENS = 1024
_LONGEST_ANSWER = 1024 * 1024
_TOKEN = re.compile(r"[!-~]{1,65536}")
_NO_POST_HERE = (404, 405)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request to a token server. The transport sends it as it is and must not follow redirects.

    The body is `form`, or `json`, which is encoded already.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: dict[str, str] | None = field(default=None, repr=False)
    params: list[tuple[str, str]] = field(default_factory=list, repr=False)
    json: bytes | None = field(default=None, repr=False)


# Returns the status and the (bounded) body of the answer.
TokenFetch = Callable[[TokenRequest], Awaitable[tuple[int, bytes]]]


class TokenKey(NamedTuple):
    """What a token is for, within one registry and identity."""

    realm: str
    service: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A token, as the header that carries it; times are in seconds of the clock."""

    headers: dict[str, str] = field(repr=False)
    fetched_at: float
    renew_at: float
    ends_at: float


class _Fetching:
    """A fetch in progress, and how many requests wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Token]) -> None:
        self.task = task
        self.waiters = 0


class BearerTokens:
    """The tokens of one identity at one registry: fetched once for all requests, renewed before they expire."""

    def __init__(
        self,
        base_url: str,
        identity: Identity | Credentials | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url
        self._identity = identity if isinstance(identity, Identity) else Identity(identity)
        self._clock = clock
        self._server: tuple[str, str] | None = None
        self._keys: dict[tuple[str, ...], TokenKey] = {}
        self._tokens: dict[TokenKey, Token] = {}
        self._fetching: dict[TokenKey, _Fetching] = {}
        self._has_granted = False
        self._refusal: LoginError | None = None

    @property
    def server(self) -> tuple[str, str]:
        """The realm and service of the last challenge; empty before the first."""
        return self._server or ("", "")

    def secrets(self) -> tuple[str, ...]:
        """The current tokens."""
        return tuple(token.headers["Authorization"].partition(" ")[2] for token in self._tokens.values())

    def fresh(self, scopes: tuple[str, ...]) -> dict[str, str] | None:
        """The header for a request that needs `scopes`; None if there is no token, or it is due for renewal."""
        key = self._keys.get(scopes)
        token = self._tokens.get(key) if key is not None else None
        return token.headers if token is not None and self._clock() < token.renew_at else None

    async def renewed(self, scopes: tuple[str, ...], fetch: TokenFetch | None) -> dict[str, str]:
        """The header for a request that needs `scopes`, with a token fetched if one is due; empty before a challenge.

        Once the token server is known, a token for other scopes is requested without a challenge.
        """
        key = self._keys.get(scopes)
        if key is None and self._server is not None:
            key = TokenKey(*self._server, scopes)
        if key is None:
            return {}
        token = self._tokens.get(key)
        now = self._clock()
        if token is not None and now >= token.ends_at:
            token = None
        if fetch is None or (token is not None and now < token.renew_at):
            return token.headers if token is not None else {}
        try:
            token = await self._obtain(key, fetch)
        except AccessError:
            # The registry has not asked for this token: its challenge will say which one it wants.
            return token.headers if token is not None else {}
        except DregutilError:
            if token is None:
                raise
            return token.headers
        self._keys[scopes] = key
        return token.headers

    async def answer(
        self, challenge: Challenge, scopes: tuple[str, ...], *, attempt: int, fetch: TokenFetch, sent: str | None
    ) -> bool:
        """Have a token that answers `challenge`; False if there is none but the refused one.

        `sent` is the refused Authorization header ("" without one, None if unknown). Raises LoginError if the token
        server refuses, or may not be trusted with the credentials.
        """
        realm = check_realm(
            challenge.get("realm"), self._base_url, has_credentials=self._identity.credentials is not None
        )
        service = challenge.get("service")
        wanted = challenge.scopes or scopes
        if not all(text.isprintable() for text in (service, *wanted)):
            raise ProtocolError("the registry's challenge names a service or scope with unprintable characters")
        key = TokenKey(realm, service, wanted)
        self._server = (realm, service)
        self._keys[scopes] = key
        token = self._tokens.get(key)
        if token is not None and self._clock() < token.ends_at:
            if not self._is_refused(token, attempt, sent):
                return True
            if attempt and sent is not None and challenge.get("error") == "insufficient_scope":
                return False
        await self._obtain(key, fetch)
        return True

    def _is_refused(self, token: Token, attempt: int, sent: str | None) -> bool:
        if sent is not None:
            return sent == token.headers["Authorization"]
        return attempt > 0 or self._clock() - token.fetched_at > _NEW_FOR

    async def _obtain(self, key: TokenKey, fetch: TokenFetch) -> Token:
        """Fetch the token for `key`, or wait for a fetch in progress, which is cancelled when nobody waits any more."""
        if self._refusal is not None:
            raise self._refusal
        fetching = self._fetching.get(key)
        if fetching is None:
            fetching = _Fetching(asyncio.ensure_future(self._fetch(key, fetch)))
            self._fetching[key] = fetching
            fetching.task.add_done_callback(lambda task: self._forget_fetch(key, task))
        fetching.waiters += 1
        try:
            await asyncio.wait((fetching.task,))
        finally:
            fetching.waiters -= 1
            if not fetching.waiters and not fetching.task.done():
                fetching.task.cancel()
                self._fetching.pop(key, None)
        return fetching.task.result()

    def _forget_fetch(self, key: TokenKey, task: asyncio.Task[Token]) -> None:
        fetching = self._fetching.get(key)
        if fetching is not None and fetching.task is task:
            del self._fetching[key]
        if not task.cancelled():
            task.exception()  # retrieved even if nobody waits any more

    async def _fetch(self, key: TokenKey, fetch: TokenFetch) -> Token:
        credentials = self._identity.credentials
        began = self._clock()
        status, body = await self._ask(key, credentials, fetch)
        if status == 401 and await self._identity.differs(credentials):
            credentials = self._identity.credentials
            self._has_granted = False
            began = self._clock()
            status, body = await self._ask(key, credentials, fetch)
        if status != 200:
            raise self._failure(status, key, credentials)
        answer = _read_answer(body, host_of(key.realm))
        secret, life = answer.secret, answer.life
        is_ours = credentials is not None and credentials == self._identity.credentials
        if credentials is not None and is_ours and credentials.kind == "identity_token" and answer.next_identity:
            self._identity.replace(replace(credentials, secret=answer.next_identity))
        token = Token(
            headers={"Authorization": f"Bearer {secret}"},
            fetched_at=self._clock(),
            renew_at=began + life - min(_EARLIEST_RENEWAL, life / 5),
            ends_at=began + life,
        )
        self._has_granted = True
        # The oldest is dropped first: in a registry with many repositories and a token for each, it will not be needed
        # again.
        self._tokens.pop(key, None)
        self._tokens[key] = token
        while len(self._tokens) > _MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    async def _ask(self, key: TokenKey, credentials: Credentials | None, fetch: TokenFetch) -> tuple[int, bytes]:
        status, body = 0, b""
        for request in self._requests(key, credentials):
            status, body = await fetch(request)
            if status not in _NO_POST_HERE:
                break
        return status, body

    def _requests(self, key: TokenKey, credentials: Credentials | None) -> list[TokenRequest]:
        """The requests to try in turn; the next one only where a server does not support the one before."""
        params = [("service", key.service)] if key.service else []
        params += [("scope", scope) for scope in key.scopes]
        if credentials is None:
            return [TokenRequest("GET", key.realm, {}, None, params)]
        if credentials.user:
            params.append(("account", credentials.user))
        get = TokenRequest("GET", key.realm, {"Authorization": credentials.basic()}, None, params)
        if credentials.kind != "identity_token":
            return [get]
        form = {"grant_type": "refresh_token", "service": key.service, "client_id": CLIENT_ID}
        form |= {"scope": " ".join(key.scopes)} if key.scopes else {}
        return [TokenRequest("POST", key.realm, {}, form | {"refresh_token": credentials.secret}, []), get]

    def _failure(self, status: int, key: TokenKey, credentials: Credentials | None) -> DregutilError:
        server = f"the token server {host_of(key.realm)}"
        who = "an anonymous request"
        if credentials is not None:
            who = f"the login {credentials.user or '(token)'!r} (from {credentials.source})"
        if status == 403:
            wanted = f" to {', '.join(key.scopes)}" if key.scopes else ""
            return DeniedError(f"{server} denied {who} access{wanted} (status 403)")
        if status in (400, 401):
            failure = LoginError(f"{server} did not accept {who} (status {status})")
            # Refused for one repository is refused for all: more attempts might lock the account.
            if status == 401 and not self._has_granted:
                self._refusal = failure
            return failure
        if status == 429:
            return ThrottledError(f"{server} refused the request because of its load (status 429)")
        if status >= 500:
            return UnreachableError(f"{server} failed (status {status})")
        return ProtocolError(f"{server} gave no token (status {status})")


class _Granted(NamedTuple):
    """A token, its life in seconds, and the identity token that replaces the one that was sent; empty without one."""

    secret: str
    life: float
    next_identity: str


def _read_answer(body: bytes, host: str) -> _Granted:
    """Parse a token server's answer. Raises ProtocolError, which never quotes the answer."""
    failure = ProtocolError(f"the token server {host} answered without a token")
    if len(body) > _LONGEST_ANSWER:
        raise failure
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise failure from None
    if not isinstance(answer, dict):
        raise failure
    secret = answer.get("token") or answer.get("access_token")
    if not isinstance(secret, str) or not _TOKEN.fullmatch(secret):
        raise failure
    following = answer.get("refresh_token")
    if not isinstance(following, str) or not _TOKEN.fullmatch(following):
        following = ""
    return _Granted(secret, _life(answer.get("expires_in")), following)


def _life(expires_in: object) -> float:
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return _DEFAULT_LIFE
    try:
        life = float(expires_in)
    except (ValueError, OverflowError):
        return _DEFAULT_LIFE
    return min(life, _LONGEST_LIFE) if life > 0 else _DEFAULT_LIFE
