"""A command has one pool of connections, from its first request to its last, and fetches one token a scope."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dregutil.cli import run
from dregutil.registry.http.transport import Transport
from images import Pusher
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

POLICY = "{version: 1, policies: [{name: web, repositories: ['**'], keep: {last: 1}, min_age: 0d, max_remove: 100%}]}"


class Guarded(Proxy):
    """Before a registry: wants a token for each scope, and counts those that are fetched. A token is its scopes."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream, before=self._answer)
        self.fetched: Counter[str] = Counter()

    def _answer(self, request: Request) -> Answer | None:
        if request.path == "/token":
            scopes = parse_qs(urlsplit(request.target).query).get("scope", [])
            self.fetched.update(scopes or [""])
            token = base64.urlsafe_b64encode(json.dumps(scopes).encode()).decode()
            return Answer(200, json.dumps({"token": token, "expires_in": 3600}).encode())
        wanted = _scope(request)
        token = request.headers.get("authorization", "").partition("Bearer ")[2]
        if token and (not wanted or wanted in json.loads(base64.urlsafe_b64decode(token))):
            return None
        scope = f',scope="{wanted}"' if wanted else ""
        return Answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{self.url}/token",service="test"{scope}'})


def _scope(request: Request) -> str:
    if request.path == "/v2/":
        return ""
    found = re.match(r"/v2/(.+?)/(?:manifests|tags|blobs|referrers)/", request.path)
    if found is None:
        return "registry:catalog:*"
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
    return f"repository:{found[1]}:{actions}"


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with MemoryServer() as server, Pusher(server.url) as pusher:
        for tag in ("1.0", "1.1", "2.0"):
            pusher.push_image("shop/web", tag, seed=tag)
        child = pusher.push_image("shop/api", seed="child")
        pusher.push_index("shop/api", "1.0", children=[child])
        with Guarded(server.port) as proxy:
            yield proxy


@pytest.mark.parametrize(
    "arguments",
    [
        ("list-tag-names",),
        ("list-tag-names", "--older-than", "1d"),
        ("query-tags", "-r", "shop/web", "-t", "<2", "--larger-than", "1"),
        ("refresh",),
        ("find", "shop/web:1.0"),
        ("inspect", "shop/api:1.0"),
        ("du",),
        ("doctor",),
        ("remove-tags", "-r", "shop/web", "-t", "<2", "-y"),
        ("remove-repos", "-r", "shop/api", "-y"),
        ("cleanup", "-f", "policy.yml", "-y"),
        ("cleanup", "-f", "policy.yml", "--dry-run"),
        ("why", "-f", "policy.yml", "shop/web:1.0"),
        ("policy", "check", "policy.yml", "--against"),
        ("undo", "-y"),
    ],
    ids=" ".join,
)
def test_a_command_has_one_connection_and_one_token_a_scope(
    guarded: Guarded, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.yml").write_text(POLICY)
    login = ["-reg", guarded.url, "-u", "ann", "-p", "secret", "-c", "None"]
    if arguments[0] == "undo":
        assert run([*login, "remove-tags", "-r", "shop/web", "-t", "<2", "-y"]) == 0
        guarded.fetched.clear()
    opened: list[Transport] = []
    begin = Transport.__init__

    def counted(self: Transport, *arguments: object, **options: object) -> None:
        opened.append(self)
        begin(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Transport, "__init__", counted)
    against = [guarded.url] if arguments[-1] == "--against" else []
    assert run([*login, *arguments, *against]) == 0
    assert len(opened) == 1
    assert guarded.fetched
    assert set(guarded.fetched.values()) == {1}, guarded.fetched
