"""What to send as Authorization. Opens no sockets."""

from __future__ import annotations

from dregutil.registry.bearer import TokenFetch, TokenRequest
from dregutil.registry.credentials import Credentials

__all__ = ["Authenticator", "TokenFetch", "TokenRequest"]


class Authenticator:
    """Answers one registry's challenges with one identity."""

    def __init__(self, base_url: str, credentials: Credentials | None, *, digest_auth: bool = False) -> None:
        self.scheme_used = ""

    def known_headers(self, method: str, target: str, scopes: tuple[str, ...]) -> dict[str, str] | None:
        """The headers, if they need no token fetch first; None: ask `headers` with a fetch."""
        return {}

    async def headers(
        self, method: str, target: str, scopes: tuple[str, ...], *, fetch: TokenFetch | None = None
    ) -> dict[str, str]:
        """The Authorization header from what is known so far; empty when nothing is."""
        return {}

    async def challenged(
        self,
        response_status: int,
        www_authenticate: list[str],
        scopes: tuple[str, ...],
        *,
        attempt: int,
        fetch: TokenFetch,
        sent: dict[str, str] | None = None,
    ) -> bool:
        """Learn from a 401 (`sent`: the headers that it refuses); True: send the request once more."""
        return False
