"""HTTP Digest (RFC 7616): MD5 and SHA-256, with and without -sess, `qop=auth` or none."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from urllib.parse import quote

from dregutil.registry.auth.challenge import Challenge

__all__ = ["DigestSession", "choose_digest_challenge"]

# Strongest first: of several challenges the strongest supported one is answered.
_HASHES = {"sha-256": "sha256", "md5": "md5"}


def choose_digest_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """The strongest Digest challenge that is supported; None without any."""
    usable = [challenge for challenge in challenges if _is_usable(challenge)]
    strength = list(_HASHES)
    return min(usable, key=lambda challenge: strength.index(_hash_name(challenge)), default=None)


class DigestSession:
    """Answers for one nonce. Each answer has the next `nc`, so concurrent requests never share one."""

    __slots__ = (
        "_algorithm",
        "_client_nonce",
        "_count",
        "_fixed_fields",
        "_is_session",
        "_make_client_nonce",
        "_nonce",
        "_qop",
        "_session_secret",
        "_user_secret",
    )

    def __init__(
        self,
        challenge: Challenge,
        user: str,
        password: str,
        *,
        make_client_nonce: Callable[[], str] = lambda: secrets.token_urlsafe(24),
    ) -> None:
        """`challenge` was returned by `choose_digest_challenge`."""
        self._algorithm = _HASHES[_hash_name(challenge)]
        self._nonce = challenge.get("nonce")
        self._qop = "auth" if "auth" in _qop_options(challenge) else ""
        self._is_session = challenge.get("algorithm").lower().endswith("-sess")
        self._make_client_nonce = make_client_nonce
        self._count = 0
        realm = challenge.get("realm")
        self._user_secret = self._hash(f"{user}:{realm}:{password}")
        # A -sess key depends on the client nonce of the first answer (RFC 7616 §3.4.2), so that nonce is kept.
        self._client_nonce = make_client_nonce() if self._is_session else ""
        self._session_secret = (
            self._hash(f"{self._user_secret}:{self._nonce}:{self._client_nonce}")
            if self._is_session
            else self._user_secret
        )
        self._fixed_fields = _fixed_fields(challenge, user)

    @property
    def nonce(self) -> str:
        return self._nonce

    def answer(self, method: str, target: str) -> str:
        """The Authorization header for a request; `target` is its path and query exactly as they are sent."""
        uri = _escape(target)
        request = self._hash(f"{method}:{target}")
        if not self._qop:
            response = self._hash(f"{self._session_secret}:{self._nonce}:{request}")
            client = f', cnonce="{self._client_nonce}"' if self._is_session else ""
            return f'Digest {self._fixed_fields}, uri="{uri}", response="{response}"{client}'
        self._count += 1
        count = f"{self._count:08x}"
        client_nonce = self._client_nonce or self._make_client_nonce()
        response = self._hash(f"{self._session_secret}:{self._nonce}:{count}:{client_nonce}:{self._qop}:{request}")
        return (
            f'Digest {self._fixed_fields}, uri="{uri}", qop={self._qop}, nc={count}, '
            f'cnonce="{client_nonce}", response="{response}"'
        )

    def _hash(self, text: str) -> str:
        return hashlib.new(self._algorithm, text.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _fixed_fields(challenge: Challenge, user: str) -> str:
    """The part that all answers to `challenge` share."""
    # The extended form is only for servers that announce it (RFC 7616 §3.4.4).
    is_extended = not user.isascii() and challenge.get("charset").lower() == "utf-8"
    fields = [
        f"username*=UTF-8''{quote(user, safe='')}" if is_extended else f'username="{_escape(user)}"',
        f'realm="{_escape(challenge.get("realm"))}"',
        f'nonce="{_escape(challenge.get("nonce"))}"',
    ]
    # Sent only if the server did: MD5 is the default, and old servers do not know the parameter.
    if algorithm := challenge.get("algorithm"):
        fields.append(f"algorithm={algorithm}")
    if "opaque" in challenge.parameters:
        fields.append(f'opaque="{_escape(challenge.get("opaque"))}"')
    return ", ".join(fields)


def _is_usable(challenge: Challenge) -> bool:
    if challenge.scheme != "digest" or not challenge.get("nonce") or "realm" not in challenge.parameters:
        return False
    if any(not value.isprintable() for value in challenge.parameters.values()):
        return False
    options = _qop_options(challenge)
    return _hash_name(challenge) in _HASHES and (not options or "auth" in options)


def _hash_name(challenge: Challenge) -> str:
    return challenge.get("algorithm", "MD5").lower().removesuffix("-sess")


def _qop_options(challenge: Challenge) -> list[str]:
    return challenge.get("qop").lower().replace(",", " ").split()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
