"""The Authorization header of each request: answers a registry's challenges and remembers them. Opens no sockets.

headers = auth.known_headers(method, target, scopes)        # a dictionary look-up
if headers is None:                                         # a token must be fetched
    headers = await auth.headers(method, target, scopes, fetch=fetch)
... send; on a 401:
again = await auth.challenged(401, response.headers.getall("WWW-Authenticate", []), scopes,
                              attempt=0, fetch=fetch, sent=headers)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dregutil.errors import LoginError
from dregutil.registry.auth.bearer import BearerTokens, TokenFetch, TokenRequest
from dregutil.registry.auth.challenge import Challenge, parse_challenges
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.digest_auth import DigestSession, choose_digest_challenge
from dregutil.registry.auth.identity import Identity

__all__ = ["Authenticator", "TokenFetch", "TokenRequest"]

_MOST_ANSWERS = 2
# A challenge is answered twice only if the server says that the token had expired or lacked a scope.
_WORTH_A_SECOND = ("invalid_token", "insufficient_scope")


class Authenticator:
    """Answers one registry's challenges with one identity.

    No credentials are sent before the registry asks. `scheme_used` is the scheme of the first challenge that was
    answered ("Bearer", "Digest", "Basic"), or empty. A registry may ask for another scheme for some scopes (Harbor's
    catalog), which is remembered for those scopes.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials | None,
        *,
        digest_auth: bool = False,
        ask: Callable[[], Credentials | None] | None = None,
    ) -> None:
        """`base_url` is the registry's, with its scheme; `digest_auth` forbids Basic towards the registry. `ask` looks
        the credentials up again after they were refused."""
        self.scheme_used = ""
        self._identity = Identity(credentials, ask)
        self._digest_auth = digest_auth
        self._tokens = BearerTokens(base_url, self._identity)
        self._schemes: dict[tuple[str, ...], str] = {}
        self._digest: DigestSession | None = None
        self._fixed: dict[str, dict[str, str]] = {}

    @property
    def credentials(self) -> Credentials | None:
        return self._identity.credentials

    @property
    def forbids_basic(self) -> bool:
        """Whether the password must never be sent as it is."""
        return self._digest_auth

    @property
    def token_server(self) -> tuple[str, str]:
        """The realm and service of the registry's token server; empty before a challenge named them."""
        return self._tokens.server

    def secrets(self) -> tuple[str, ...]:
        """All passwords and tokens of this identity, which must never be shown."""
        return (*self._identity.secrets(), *self._tokens.secrets())

    def known_headers(self, method: str, target: str, scopes: tuple[str, ...]) -> dict[str, str] | None:
        """The headers for a request; None if a token must be fetched first, by `headers`.

        `target` is the request's path and query exactly as they are sent. The result is shared and must not be changed.
        """
        scheme = self._schemes.get(scopes, self.scheme_used)
        if not scheme:
            return {}
        if scheme == "Digest" and self._digest is not None:
            return {"Authorization": self._digest.answer(method, target)}
        return self._fixed.get(scheme) or self._tokens.fresh(scopes)

    async def headers(
        self, method: str, target: str, scopes: tuple[str, ...], *, fetch: TokenFetch | None = None
    ) -> dict[str, str]:
        """The headers for a request; empty before the first challenge.

        With `fetch`, a token that is about to expire is renewed first. Raises UnreachableError if that fails.
        """
        known = self.known_headers(method, target, scopes)
        return known if known is not None else await self._tokens.renewed(scopes, fetch)

    async def challenged(
        self,
        response_status: int,
        www_authenticate: list[str],
        scopes: tuple[str, ...],
        *,
        attempt: int,
        fetch: TokenFetch,
        sent: Mapping[str, str] | None = None,
    ) -> bool:
        """Answer the challenges in the WWW-Authenticate headers of a refusal; True if the request should be sent again.

        `attempt` counts from 0. `sent` are the headers of the refused request: a token fetched since then was not
        refused. Raises LoginError if answering is not safe, or the token server refuses.
        """
        challenges = parse_challenges(www_authenticate)
        if attempt >= _MOST_ANSWERS or not _is_challenge(response_status, challenges):
            return False
        refused = None if sent is None else sent.get("Authorization", "")
        for scheme in ("Digest", "Bearer", "Basic") if self._digest_auth else ("Bearer", "Digest", "Basic"):
            if scheme == "Bearer":
                if bearer := self._answerable_bearer(challenges):
                    return await self._answer_bearer(bearer, scopes, attempt=attempt, fetch=fetch, sent=refused)
            elif self.credentials is not None and self.credentials.kind == "password":
                if scheme == "Digest" and (digest := choose_digest_challenge(challenges)):
                    return await self._answer_digest(digest, self.credentials, scopes, attempt=attempt, sent=refused)
                if scheme == "Basic" and _has_scheme(challenges, "basic"):
                    return await self._answer_basic(self.credentials, scopes, attempt=attempt, sent=refused)
        return False

    def _answerable_bearer(self, challenges: Sequence[Challenge]) -> Challenge | None:
        needs_realm = self.credentials is None or self.credentials.kind != "bearer"
        for challenge in challenges:
            if challenge.scheme == "bearer" and (challenge.get("realm") or not needs_realm):
                return challenge
        return None

    async def _answer_bearer(
        self, challenge: Challenge, scopes: tuple[str, ...], *, attempt: int, fetch: TokenFetch, sent: str | None
    ) -> bool:
        if attempt and challenge.get("error") not in _WORTH_A_SECOND:
            return False
        credentials = self.credentials
        if credentials is not None and credentials.kind == "bearer":
            return await self._answer_fixed("Bearer", credentials, scopes, attempt, sent)
        answered = await self._tokens.answer(challenge, scopes, attempt=attempt, fetch=fetch, sent=sent)
        self._use("Bearer", scopes)
        return answered

    async def _answer_digest(
        self, challenge: Challenge, credentials: Credentials, scopes: tuple[str, ...], *, attempt: int, sent: str | None
    ) -> bool:
        is_stale = challenge.get("stale").lower() == "true"
        if attempt and not is_stale:
            if attempt > 1 or not await self._identity.differs(credentials):
                return False
            found = self.credentials
            if found is None or found.kind != "password":
                return False
            credentials = found
        # Requests sent before the first nonce was known share it; otherwise each would start a session with a new one.
        was_unasked = sent == "" and self._digest is not None
        if not was_unasked:
            self._digest = DigestSession(challenge, credentials.user, credentials.secret)
        self._use("Digest", scopes)
        return True

    async def _answer_basic(
        self, credentials: Credentials, scopes: tuple[str, ...], *, attempt: int, sent: str | None
    ) -> bool:
        if self._digest_auth:
            raise LoginError("the registry offers no HTTP Digest, only Basic", advice="leave out --digest-auth")
        return await self._answer_fixed("Basic", credentials, scopes, attempt, sent)

    async def _answer_fixed(
        self, scheme: str, credentials: Credentials, scopes: tuple[str, ...], attempt: int, sent: str | None
    ) -> bool:
        """Send the credentials as they are; if they were refused, look them up again."""
        if sent == _fixed(credentials) or (sent is None and attempt):
            if not await self._identity.differs(credentials):
                return False
            found = self.credentials
            if found is None or found.kind != credentials.kind:
                return False
            credentials = found
        self._fixed[scheme] = {"Authorization": _fixed(credentials)}
        self._use(scheme, scopes)
        return True

    def _use(self, scheme: str, scopes: tuple[str, ...]) -> None:
        if not self.scheme_used:
            self.scheme_used = scheme
        if scheme != self.scheme_used:
            self._schemes[scopes] = scheme
        else:
            self._schemes.pop(scopes, None)


def _fixed(credentials: Credentials) -> str:
    return f"Bearer {credentials.secret}" if credentials.kind == "bearer" else credentials.basic()


def _has_scheme(challenges: Sequence[Challenge], scheme: str) -> bool:
    return any(challenge.scheme == scheme for challenge in challenges)


def _is_challenge(status: int, challenges: Sequence[Challenge]) -> bool:
    """Whether it is a 401, or a 403 that asks for a token with more scopes (RFC 6750 §3.1)."""
    return status == 401 or (
        status == 403 and any(challenge.get("error") == "insufficient_scope" for challenge in challenges)
    )
