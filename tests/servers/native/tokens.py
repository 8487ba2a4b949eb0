"""A registry in memory that wants bearer tokens with a scope, and hands them out at an address of its own."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field

from servers.http import Answer, Request
from servers.memory import MemoryServer, Switches

__all__ = ["TokenRegistry", "User"]


@dataclass
class User:
    """Somebody with a login. `actions`: what a token of theirs allows in any repository."""

    secret: str
    actions: frozenset[str] = frozenset(("pull", "push", "delete"))


@dataclass
class TokenRegistry(MemoryServer):
    """The token flow of distribution (docs/spec/auth/token.md): a challenge names realm, service and scope; the token
    has the actions that the login has of those that were asked for.

    `needs`: the actions that each method needs. `private`: what nobody reads without a login. `requests`: all of them.
    """

    users: dict[str, User] = field(default_factory=lambda: {"ann": User("a-secret")})
    private: set[str] = field(default_factory=set)
    token_path: str = "/token"
    needs: dict[str, frozenset[str]] = field(
        default_factory=lambda: {
            "DELETE": frozenset(("pull", "delete")),
            "PUT": frozenset(("pull", "push")),
            "POST": frozenset(("pull", "push")),
            "PATCH": frozenset(("pull", "push")),
        }
    )

    def __post_init__(self) -> None:
        super().__init__(Switches())
        self.requests: list[Request] = []
        self._tokens: dict[str, tuple[str, dict[str, set[str]]]] = {}  # the user, and the actions in each repository
        self.trusted = f"Bearer {secrets.token_hex()}"  # of the test itself: it fills the registry

    def answer(self, request: Request) -> Answer:
        if request.path == self.token_path:
            return self._token(request)
        authorization = request.headers.get("authorization", "")
        if authorization == self.trusted:
            return super().answer(request)
        self.requests.append(request)
        user, allowed = self._tokens.get(authorization.removeprefix("Bearer "), ("", {}))
        name = self.concerned(request)
        needed = self.needs.get(request.method, frozenset(("pull",)))
        if not authorization.startswith("Bearer ") or (name and not needed <= allowed.get(name, set())):
            return self._challenge(name, needed, insufficient=bool(user))
        return self.allowed(request)

    def allowed(self, request: Request) -> Answer:
        """The answer to a request whose token has what it needs."""
        return super().answer(request)

    def concerned(self, request: Request) -> str:
        """The repository that a request is about; empty without one."""
        return repository_of(request)

    def sent(self, method: str) -> list[str]:
        """The references of the requests of a method, without those of the test itself."""
        return [request.reference for request in self.requests if request.method == method]

    def user_of(self, basic: str) -> str | None:
        """The user of an Authorization header; None if the login is wrong, "" if there is none."""
        if not basic:
            return ""
        user, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
        return user if user in self.users and self.users[user].secret == secret else None

    def _token(self, request: Request) -> Answer:
        user = self.user_of(request.headers.get("authorization", ""))
        if user is None:
            return Answer(401, b'{"details": "incorrect username or password"}')
        token = secrets.token_hex()
        granted: dict[str, set[str]] = {}
        for scope in request.query.get("scope", "").split():
            _, name, actions = scope.split(":")
            may = self.users[user].actions if user else frozenset() if name in self.private else frozenset(("pull",))
            granted.setdefault(name, set()).update(may.intersection(actions.split(",")))
        self._tokens[token] = (user, granted)
        body = {"token": token, "expires_in": 300}
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _challenge(self, name: str, needed: frozenset[str], *, insufficient: bool) -> Answer:
        fields = [f'realm="{self.url}{self.token_path}"', f'service="{self.host}"']
        if name:
            usual = [action for action in ("pull", "push", "delete") if action in needed]
            actions = [*usual, *sorted(needed.difference(usual))]
            fields.append(f'scope="repository:{name}:{",".join(actions)}"')
        if insufficient:
            fields.append('error="insufficient_scope"')
        body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        headers = {"WWW-Authenticate": f"Bearer {','.join(fields)}", "Docker-Distribution-Api-Version": "registry/2.0"}
        return Answer(401, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def repository_of(request: Request) -> str:
    """The repository that a request is about; empty for `/v2/` itself and the catalog."""
    path = request.path.removeprefix("/v2/")
    for part in ("/manifests/", "/blobs/", "/tags/list", "/referrers/"):
        if part in path:
            return path.partition(part)[0]
    return ""
