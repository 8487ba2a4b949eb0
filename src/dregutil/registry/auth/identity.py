"""The credentials in use, and how they are looked up again after a refusal.

During a long run a password may be rotated, or a token from a credential helper may expire.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable

from dregutil.errors import CredentialError
from dregutil.registry.auth.credentials import Credentials

__all__ = ["Identity"]

# Seconds: a helper that returns another wrong password each time must not cause endless attempts.
_ASK_EVERY = 10.0


class Identity:
    """Credentials that can be looked up again; None is an anonymous user."""

    def __init__(
        self,
        credentials: Credentials | None,
        ask: Callable[[], Credentials | None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` looks the credentials up. It may block (files, helpers), so it runs in a separate thread."""
        self.credentials = credentials
        self._ask = ask
        self._clock = clock
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._earlier: list[Credentials] = []

    async def differs(self, refused: Credentials | None) -> bool:
        """Whether there are credentials other than the refused ones. They are looked up again at most every 10 s."""
        if self.credentials != refused:
            return True
        if self._ask is None or refused is None:
            return False
        async with self._lock:
            if self.credentials != refused:
                return True
            if self._clock() - self._asked_at < _ASK_EVERY:
                return False
            self._asked_at = self._clock()
            try:
                found = await asyncio.to_thread(self._ask)
            except CredentialError:
                return False  # the registry's refusal is the better message
            if found is None or found == refused:
                return False
            self.replace(found)
            return True

    def replace(self, credentials: Credentials) -> None:
        """Use other credentials from now on."""
        if self.credentials is not None:
            self._earlier.append(self.credentials)
        self.credentials = credentials

    def secrets(self) -> tuple[str, ...]:
        """All secrets that must never be shown, in each form in which they are sent."""
        shown: list[str] = []
        for known in (*self._earlier, *((self.credentials,) if self.credentials is not None else ())):
            raw = f"{known.user}:{known.secret}".encode(errors="surrogateescape")
            shown += [known.secret, base64.b64encode(raw).decode()]
        return tuple(secret for secret in shown if secret)
