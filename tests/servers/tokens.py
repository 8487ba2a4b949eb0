"""A token server for the real registry: it signs the part of the requested scope that the user is allowed,
with a limited lifetime."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import ECKey

from servers.http import Answer, Endpoint, Request

__all__ = ["Asked", "TokenIssuer"]

_LEEWAY = 60  # seconds for which distribution 2.8 accepts an expired token


@dataclass(frozen=True)
class Asked:
    """A token request, and its user ("" if anonymous). `at` is in seconds of the monotonic clock."""

    method: str
    fields: dict[str, list[str]]
    user: str
    at: float

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(scope for given in self.fields.get("scope", []) for scope in given.split())


@dataclass
class TokenIssuer(Endpoint):
    """`users` have passwords, `identity_token` is that of `ann`. `may`: what a user may do in repositories with this
    prefix; without an entry, everything. `lives`: seconds after which the registry refuses a token; its stated lifetime
    is `says`."""

    users: dict[str, str] = field(default_factory=lambda: {"ann": "pässword"})
    identity_token: str = "an-identity-token"
    may: dict[tuple[str, str], str] = field(default_factory=dict)
    lives: float = 300.0
    says: float | None = None
    takes_post: bool = True
    next_identity_token: str = ""
    late: int = 0  # how many of the next tokens are returned long after their expiry
    ca: trustme.CA = field(default_factory=trustme.CA)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        leaf = self.ca.issue_cert("tokens.example")
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        self._x5c = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        self._key = ECKey.import_key(leaf.private_key_pem.bytes())
        self._last_end = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    @property
    def realm(self) -> str:
        return f"{self.url}/token"

    def configuration(self, folder: Path) -> str:
        """The `auth` section of the registry; the certificate is written to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        token = f"realm: {self.realm}, service: reg, issuer: issuer, rootcertbundle: {folder / 'ca.pem'}"
        return f"auth: {{token: {{{token}}}}}"

    def wait_until_all_ended(self) -> None:
        """Return once the registry refuses every token requested so far."""
        with self._lock:
            end = self._last_end
        while (left := end - time.time()) > 0:
            threading.Event().wait(left)

    def sign(self, service: str, scopes: tuple[str, ...], user: str = "ann") -> str:
        now = time.time()
        # The registry reads whole seconds, and accepts a token for a minute longer.
        end = math.ceil(now + self.lives)
        expires = int(now) - 300 if self.late else end - _LEEWAY
        self.late = max(0, self.late - 1)
        access = [
            {"type": kind, "name": name, "actions": self._granted(user, name, actions)}
            for kind, name, actions in (scope.split(":") for scope in scopes)
        ]
        claims = {"iss": "issuer", "sub": user, "aud": service, "exp": expires, "nbf": int(now) - 900}
        return jwt.encode({"alg": "ES256", "x5c": self._x5c}, claims | {"jti": "1", "access": access}, self._key)

    def answer(self, request: Request) -> Answer:
        encoded = request.body.decode() if request.method == "POST" else urlsplit(request.target).query
        fields = parse_qs(encoded)
        user = self._user(fields, request.headers.get("authorization", ""))
        self.asked.append(Asked(request.method, fields, user, time.monotonic()))
        if request.method == "POST" and not self.takes_post:
            return Answer(404, b"no such page")
        if not user:
            return Answer(401, b"{}")
        name = "access_token" if request.method == "POST" else "token"
        token = self.sign(fields["service"][0], self.asked[-1].scopes, user)
        with self._lock:
            self._last_end = max(self._last_end, math.ceil(time.time() + self.lives))
        body: dict[str, object] = {name: token, "expires_in": self.says if self.says is not None else self.lives}
        if request.method == "POST" and self.next_identity_token:
            body["refresh_token"] = self.identity_token = self.next_identity_token
            self.next_identity_token = ""
        return Answer(200, json.dumps(body).encode())

    def _user(self, fields: dict[str, list[str]], authorization: str) -> str:
        if fields.get("refresh_token") == [self.identity_token]:
            return "ann"
        for user, password in (*self.users.items(), ("", self.identity_token)):
            if authorization == f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}":
                return user or "ann"
        return ""

    def _granted(self, user: str, name: str, actions: str) -> list[str]:
        allowed = [actions for (who, path), actions in self.may.items() if who == user and name.startswith(path)]
        wanted = actions.split(",")
        return [action for action in wanted if not allowed or action in allowed[0].split(",")]
