"""An OpenID Connect provider for oauth2-proxy: whoever is asked for is logged in at once, without a page.

What it answers is what oauth2-proxy asks: the discovery document, a code, an ID token with the email, the keys
(OpenID Connect Core 1.0, 3.1; Discovery 1.0, 4).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from servers.http import Answer, Endpoint, Request

__all__ = ["OidcProvider"]


class OidcProvider(Endpoint):
    """`who` logs in next, by email."""

    def __init__(self, who: str = "") -> None:
        super().__init__()
        self.who = who
        self._key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self._codes: dict[str, dict[str, str]] = {}

    def answer(self, request: Request) -> Answer:
        if request.path == "/.well-known/openid-configuration":
            return _json(self._discovery())
        if request.path == "/keys":
            return _json({"keys": [self._key.as_dict(private=False)]})
        if request.path == "/authorize":
            return self._authorize(request.query)
        if request.path == "/token":
            return self._token({name: found[0] for name, found in parse_qs(request.body.decode()).items()})
        return Answer(404)

    def _discovery(self) -> Mapping[str, object]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _authorize(self, query: Mapping[str, str]) -> Answer:
        code = secrets.token_urlsafe()
        nonce = {"nonce": query["nonce"]} if "nonce" in query else {}
        self._codes[code] = {"aud": query["client_id"], "email": self.who, "sub": self.who, **nonce}
        back = urlencode({"code": code, "state": query["state"]})
        return Answer(302, headers={"Location": f"{query['redirect_uri']}?{back}"})

    def _token(self, form: Mapping[str, str]) -> Answer:
        known = self._codes.pop(form["code"], None)
        if known is None:
            return _json({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.url, "iat": now, "exp": now + 600, "email_verified": True, **known}
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key)
        return _json({"access_token": "none", "token_type": "Bearer", "expires_in": 600, "id_token": token})


def _json(found: Mapping[str, object], status: int = 200) -> Answer:
    return Answer(status, json.dumps(found).encode(), {"Content-Type": "application/json"})
