"""Tokens for the scope in a registry's challenge: registries other than distribution require `push`, only `delete`, or
`*` for a DELETE.

A registry in memory with such a profile checks each token itself; its token server grants only what it knows.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from test_servers import dregutil

from images import Pusher
from servers.http import Answer, Proxy, Request
from servers.profiles import PROFILES, ProfileServer

TAGS = [f"1.{number}" for number in range(6)]


@dataclass(frozen=True)
class Rules:
    """The requirements of a registry. `delete`: the actions in the challenge of a DELETE; `knows`: those that its token
    server grants at all. `status`, `error`: how it refuses a token with too little scope."""

    profile: str
    delete: str
    knows: frozenset[str]
    status: int = 401
    error: str = "insufficient_scope"


ALL = frozenset(("pull", "push", "delete", "*"))
RULES = {
    "distribution": Rules("distribution 2.8", "delete", frozenset(("pull", "push", "delete"))),
    "Quay": Rules("Quay", "pull,push", frozenset(("pull", "push")), error=""),
    "Quay, that says why": Rules("Quay", "push", frozenset(("pull", "push"))),
    "Harbor": Rules("Harbor", "delete", frozenset(("pull", "push", "delete"))),
    "everything": Rules("GitLab", "*", ALL, error="invalid_token"),
    "everything, as 403": Rules("zot", "*", ALL, status=403),
}


class Guard(Proxy):
    """In front of a registry: requires a token with the actions of its rules. A token is the granted scope in
    Base64."""

    def __init__(self, upstream: int, rules: Rules, allowed: frozenset[str]) -> None:
        super().__init__(upstream, before=self._answer)
        self.rules = rules
        self.allowed = allowed  # what this user is allowed to do
        self.asked: list[str] = []

    def _answer(self, request: Request) -> Answer | None:
        if request.path == "/token":
            scopes = parse_qs(urlsplit(request.target).query).get("scope", [])
            self.asked += scopes
            granted = [scope for asked in scopes if (scope := self._granted(asked))]
            token = base64.b64encode(json.dumps(granted).encode()).decode()
            return Answer(200, json.dumps({"token": token, "expires_in": 300}).encode())
        found = re.match(r"/v2/(.+?)/(?:manifests|tags|blobs|referrers)/", request.path)
        name = found[1] if found else ""
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": self.rules.delete}.get(request.method, "pull,push")
        held = _held(request.headers, name)
        if held is not None and ("*" in held or set(actions.split(",")) <= held):
            return None
        scope = f'scope="repository:{name}:{actions}"' if request.path != "/v2/" else 'scope=""'
        why = f',error="{self.rules.error}"' if held is not None and self.rules.error else ""
        challenge = f'Bearer realm="{self.url}/token",service="s",{scope}{why}'
        if request.path == "/v2/" and held is not None:
            return None
        status = self.rules.status if held is not None else 401
        return Answer(status, b"", {"WWW-Authenticate": challenge})

    def _granted(self, scope: str) -> str:
        kind, name, actions = scope.split(":")
        kept = [action for action in actions.split(",") if action in self.rules.knows & self.allowed]
        return f"{kind}:{name}:{','.join(kept)}" if kept else ""


def _held(headers: Mapping[str, str], name: str) -> set[str] | None:
    """The scope of a request's token in a repository; None without a token."""
    token = headers.get("authorization", "").partition("Bearer ")[2]
    if not token:
        return None
    granted = [scope.split(":") for scope in json.loads(base64.b64decode(token))]
    return {action for _, held, actions in granted if held == name for action in actions.split(",")}


@dataclass
class Place:
    registry: ProfileServer
    folder: Path
    arguments: list[str] = field(default_factory=list)

    def remove(self, guard: Guard) -> tuple[int, str]:
        login = ["-reg", guard.url, "-u", "ann", "-p", "pässword", "-c", "None", "--state-dir", "state"]
        chosen = ["--repositories-from", "names", "remove-tags", "-r", "r", "-re", "1\\..", "-y"]
        done = dregutil(self.folder, *login, *chosen)
        return done.returncode, done.stderr

    def tags(self) -> set[str]:
        return set(self.registry.repositories["r"].tags or {})


@pytest.fixture(params=RULES)
def rules(request: pytest.FixtureRequest) -> Rules:
    return RULES[request.param]


@pytest.fixture
def place(rules: Rules, tmp_path: Path) -> Iterator[Place]:
    (profile,) = (found for found in PROFILES if found.name == rules.profile)
    (tmp_path / "names").write_text("r\n")
    with ProfileServer(profile) as registry, Pusher(registry.url) as pusher:
        for tag in (*TAGS, "stable"):
            pusher.push_image("r", tag, seed=tag)
        yield Place(registry, tmp_path)


def test_a_removal_requests_the_scope_in_the_challenge(place: Place, rules: Rules) -> None:
    with Guard(place.registry.port, rules, ALL) as guard:
        code, errors = place.remove(guard)
    assert code == 0, errors
    assert place.tags() == {"stable"}
    # With what the session has a token for already: a token for both replaces it.
    wanted = set(rules.delete.split(","))
    assert any(wanted <= set(scope.rpartition(":")[2].split(",")) for scope in guard.asked)
    # Each challenge is answered once, and the answer is remembered: six DELETEs do not fetch six tokens.
    assert len([scope for scope in guard.asked if scope.startswith("repository:r:")]) <= 4


def test_a_token_with_less_scope_ends_the_run_before_anything_is_sent(place: Place, rules: Rules) -> None:
    with Guard(place.registry.port, rules, frozenset(("pull",))) as guard:
        code, errors = place.remove(guard)
    assert code == 4, errors
    assert "'ann'" in errors
    assert place.tags() == {*TAGS, "stable"}
    assert len(guard.asked) <= 6
    assert len(guard.sent("DELETE")) <= 3


def test_a_token_server_that_grants_nothing_ends_the_run_soon(place: Place, rules: Rules) -> None:
    with Guard(place.registry.port, rules, frozenset()) as guard:
        code, errors = place.remove(guard)
    assert code in (3, 4), errors
    assert "'ann'" in errors
    assert len(guard.asked) <= 6
    assert len(guard.requests) <= 20
