"""The login at a service's own API, where that is not the registry's own: a fixed header, or one that is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from dregutil.registry.auth.authenticator import TokenFetch
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.keyring import without_secrets

__all__ = ["ApiLogin", "LogIn"]

LogIn = Callable[[TokenFetch], Awaitable[Mapping[str, str]]]
"""Logs in, and returns the headers of each request. Raises LoginError."""


class ApiLogin:
    """Answers what `Transport` asks of its logins. Opens no sockets.

    With `log_in`, the headers are fetched before the first request, once for all, and once more after a refusal.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        log_in: LogIn | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        """`headers` are sent with each request. `secrets` are never shown, and no value of a header is."""
        self.paths: tuple[str, ...] = ()
        self.token_server = ("", "")
        self._log_in = log_in
        self._headers: dict[str, str] | None = None
        self._secrets: dict[str, None] = dict.fromkeys(secrets)
        self._lock = asyncio.Lock()
        if log_in is None:
            self._keep(headers or {})

    @classmethod
    def basic(cls, credentials: Credentials) -> ApiLogin:
        """HTTP Basic with each request."""
        return cls({"Authorization": credentials.basic()}, secrets=(credentials.secret,))

    @classmethod
    def bearer(cls, token: str) -> ApiLogin:
        return cls({"Authorization": f"Bearer {token}"}, secrets=(token,))

    def known_headers(self, method: str, target: str, scopes: tuple[str, ...]) -> dict[str, str] | None:  # noqa: ARG002 - the interface
        return self._headers

    async def headers(
        self, method: str, target: str, scopes: tuple[str, ...], *, fetch: TokenFetch | None = None
    ) -> dict[str, str]:
        """The headers of a request. Raises LoginError, and UnreachableError."""
        async with self._lock:
            known = self.known_headers(method, target, scopes)
            if known is None and self._log_in is not None and fetch is not None:
                known = self._keep(await self._log_in(fetch))
        return known or {}

    async def challenged(
        self,
        response_status: int,
        www_authenticate: list[str],  # noqa: ARG002 - the interface
        scopes: tuple[str, ...],  # noqa: ARG002 - the interface
        *,
        attempt: int,
        fetch: TokenFetch,  # noqa: ARG002 - the interface
        sent: Mapping[str, str] | None = None,
    ) -> bool:
        """Whether to log in and send the request again: after the first refusal, the login may have expired."""
        if self._log_in is None or response_status != 401 or attempt:
            return False
        if self._headers == sent:
            self._headers = None
        return True

    def hide(self, secret: str) -> None:
        """Never show this, as all secrets of this login."""
        self._secrets[secret] = None

    def redacted(self, text: str) -> str:
        """`text` without the secrets of this login."""
        return without_secrets(text, self._secrets)

    def _keep(self, headers: Mapping[str, str]) -> dict[str, str]:
        for value in headers.values():
            self._secrets.update(dict.fromkeys((value, value.rpartition(" ")[2])))
        self._headers = dict(headers)
        return self._headers
