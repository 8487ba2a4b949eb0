"""Who we are to a registry, and how to ask again where the proof has changed meanwhile.

In a long run a password is rotated, a token from a credential helper ends: whoever gave it is asked once more.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable

from dregutil.errors import CredentialError
from dregutil.registry.auth.credentials import Credentials

__all__ = ["Identity"]

# Seconds: a helper that gives another wrong password each time is not asked without end.
_ASK_EVERY = 10.0


class Identity:
    """Credentials, and who can be asked for them again. Without any, nobody in particular."""

    def __init__(
        self,
        credentials: Credentials | None,
        ask: Callable[[], Credentials | None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` may block (it reads files and runs helpers): it is called in a thread of its own."""
        self.credentials = credentials
        self._ask = ask
        self._clock = clock
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._earlier: list[Credentials] = []

    async def differs(self, refused: Credentials | None) -> bool:
        """Whether there are other credentials than the refused ones: asked for again, where that was not just done."""
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
                return False  # the refusal says more
            if found is None or found == refused:
                return False
            self.replace(found)
            return True

    def replace(self, credentials: Credentials) -> None:
        """Go on with other credentials."""
        if self.credentials is not None:
            self._earlier.append(self.credentials)
        self.credentials = credentials

    def secrets(self) -> tuple[str, ...]:
        """Everything that must never be shown, in each form in which it is sent."""
        shown: list[str] = []
        for known in (*self._earlier, *((self.credentials,) if self.credentials is not None else ())):
            raw = f"{known.user}:{known.secret}".encode(errors="surrogateescape")
            shown += [known.secret, base64.b64encode(raw).decode()]
        return tuple(secret for secret in shown if secret)
