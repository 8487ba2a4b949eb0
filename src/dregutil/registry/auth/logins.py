"""What a transport asks of the logins that it sends requests with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dregutil.registry.auth.authenticator import TokenFetch

__all__ = ["Logins"]


class Logins(Protocol):
    """The Authorization header of each request; see `Keyring` and `Authenticator`."""

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def token_server(self) -> tuple[str, str]: ...

    def known_headers(self, method: str, target: str, scopes: tuple[str, ...]) -> dict[str, str] | None: ...

    async def headers(
        self, method: str, target: str, scopes: tuple[str, ...], *, fetch: TokenFetch | None = None
    ) -> dict[str, str]: ...

    async def challenged(
        self,
        response_status: int,
        www_authenticate: list[str],
        scopes: tuple[str, ...],
        *,
        attempt: int,
        fetch: TokenFetch,
        sent: Mapping[str, str] | None = None,
    ) -> bool: ...

    def redacted(self, text: str) -> str: ...
