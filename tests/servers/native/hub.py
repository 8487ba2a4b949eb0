"""A simulation of Docker Hub: `HubRegistry` (registry-1.docker.io with its token server) and `HubApi` (hub.docker.com).

Sources, named in brackets below:

    D1  docker/docs, content/reference/api/hub/latest.yaml
    D2  docker/hub-feedback#689
    D3  docker/hub-tool, pkg/hub/tags.go
    D4  hexpm/bob, lib/bob/docker_hub.ex and docker_cleanup.ex
    D6  TriliumNext, hub.mjs
    D7  docs.docker.com/reference/api/registry/latest, operation DeleteImageManifest
    F   docker/hub-feedback#2398, #2006, #2171, #2251

What no source says is marked "no source": the simulation then does what is worst for a client, or what the distribution
specification says.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from servers.http import Answer, Endpoint, Request
from servers.memory import Stored
from servers.native.tokens import TokenRegistry, repository_of

__all__ = ["HubApi", "HubRegistry"]

_TAGS = re.compile(r"/v2/namespaces/(?P<ns>[^/]+)/repositories/(?P<name>[^/]+)/tags")
_TAG = re.compile(r"/v2/repositories/(?P<ns>[^/]+)/(?P<name>[^/]+)/tags/(?P<tag>[^/]+)/")
_LONGEST_PAGE = 100


@dataclass
class HubRegistry(TokenRegistry):
    """The registry. `pulls`: the references whose manifests were read with GET. `in_background`: how many of the next
    deletions are answered 500 and carried out after `background` more requests."""

    needs: dict[str, frozenset[str]] = field(
        default_factory=lambda: {
            "DELETE": frozenset(("pull", "push", "delete")),  # [D7]
            "PUT": frozenset(("pull", "push")),
            "POST": frozenset(("pull", "push")),
        }
    )
    in_background: int = 0
    background: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pulls: list[str] = []
        self.pushed: dict[tuple[str, str], float] = {}
        self.pulled: dict[tuple[str, str], float] = {}
        self._later: list[tuple[int, str, str]] = []

    def answer(self, request: Request) -> Answer:
        found = super().answer(request)
        if request.method == "PUT" and found.status == 201:
            self.pushed[repository_of(request), request.reference] = time.time()
        return found

    def allowed(self, request: Request) -> Answer:
        self._work_in_background()
        if request.path == "/v2/_catalog":
            challenge = f'Bearer realm="{self.url}/token",service="hub",error="insufficient_scope"'  # no catalog
            return replace(_refused(401, "UNAUTHORIZED"), headers={"WWW-Authenticate": challenge})
        if "/manifests/" not in request.path:
            return super().allowed(request)
        name, reference = repository_of(request), request.reference
        if request.method == "DELETE":
            return self._delete_of(request, name, reference)
        found = super().allowed(request)
        if request.method == "GET" and found.status == 200:  # [D1] a GET counts as a pull, a HEAD does not
            self.pulls.append(reference)
            for tag, digest in (self.repositories[name].tags or {}).items():
                if reference in (tag, digest):
                    self.pulled[name, tag] = time.time()
        return found

    def _delete_of(self, request: Request, name: str, reference: str) -> Answer:
        if ":" not in reference:
            return _refused(405, "UNSUPPORTED")  # [D7]
        repository = self.repositories.get(name)
        if repository is None or reference not in repository.manifests:
            return _refused(404, "MANIFEST_UNKNOWN")  # no source: the specification's answer
        is_held = reference in (repository.tags or {}).values() or any(
            reference in manifest.children for manifest in repository.manifests.values()
        )
        if is_held:
            return _refused(403, "DENIED")  # [D7] while a tag or an index refers to it; the code: no source
        if self.in_background:
            self.in_background -= 1
            self._later.append((self.background, name, reference))
            return _refused(500, "UNKNOWN")  # [D7] "accepted, and retried in the background"
        return super().allowed(request)  # 202; children stay (whether an index takes them along is not known)

    def _work_in_background(self) -> None:
        still = []
        for left, name, digest in self._later:
            if left:
                still.append((left - 1, name, digest))
            elif digest not in (self.repositories[name].tags or {}).values():
                self.repositories[name].manifests.pop(digest, None)
        self._later = still


class HubApi(Endpoint):
    """The Hub's own API over the content of a registry.

    `last_page`: what a listing ends with, whatever the count [D6]. `without_digest`: tags without `digest` [D3].
    `hidden`: tags that the list omits, and counts. `crawled`: the date at which a crawler has pulled every tag [D4].
    `next_host`: where `next` refers to, in place of this server. `no_rights`: the status for a login without the right
    to delete: 403 [F], or 500 [F #2398]. `refuses`: how many of the next requests are answered 429 for `wait` seconds.
    `requests` has all of them, `logins` the identifiers and secrets that were sent.
    """

    def __init__(self, registry: HubRegistry) -> None:
        super().__init__()
        self.registry = registry
        self.last_page: int | None = None
        self.without_digest: set[str] = set()
        self.hidden: set[str] = set()
        self.crawled = ""
        self.next_host = ""
        self.no_rights = 403
        self.refuses = 0
        self.wait = 1
        self.requests: list[Request] = []
        self.logins: list[tuple[str, str]] = []
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def sent(self, method: str) -> list[str]:
        return [request.target for request in self.requests if request.method == method]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.refuses:
            self.refuses -= 1
            until = str(int(time.time()) + self.wait)  # [D1] an epoch, not seconds
            return _said(429, "too many requests", {"X-Retry-After": until, **self._rate(0)})
        found = self._answer(request)
        return Answer(found.status, found.body, {**self._rate(599), **found.headers})

    def _answer(self, request: Request) -> Answer:
        if request.path == "/v2/auth/token" and request.method == "POST":
            return self._log_in(request)
        user = self._user(request)
        if user is None:
            return _said(401, "invalid token")
        listed, one = _TAGS.fullmatch(request.path.rstrip("/")), _TAG.fullmatch(request.path)
        if listed is not None and request.method == "GET":
            return self._list(request, f"{listed['ns']}/{listed['name']}", user)
        if one is not None and request.method == "DELETE":
            return self._delete(f"{one['ns']}/{one['name']}", one["tag"], user)
        return _said(404, "object not found")

    def _log_in(self, request: Request) -> Answer:
        """[D1] The password, a PAT or an OAT for a JWT."""
        body = json.loads(request.body)
        user, secret = body["identifier"], body["secret"]
        self.logins.append((user, secret))
        if user not in self.registry.users or self.registry.users[user].secret != secret:
            return _said(401, "incorrect authentication credentials")
        token = f"jwt.{secrets.token_hex()}"
        self._tokens[token] = user
        return _json({"access_token": token})

    def _user(self, request: Request) -> str | None:
        authorization = request.headers.get("authorization", "")
        return self._tokens.get(authorization.removeprefix("Bearer ")) if authorization else ""

    def _list(self, request: Request, name: str, user: str) -> Answer:
        """[D1] Pages of at most 100; `next` is a full URL, or null. [D2] Public ones without a login."""
        repository = self.registry.repositories.get(name)
        if repository is None or (name in self.registry.private and not user):
            return _said(404, "object not found")  # a private one without a login: no source
        size = min(int(request.query.get("page_size", "10")), _LONGEST_PAGE)
        page = int(request.query.get("page", "1"))
        tags = repository.tags or {}
        names = sorted(tags, key=lambda tag: (-self.registry.pushed.get((name, tag), 0.0), tag))
        shown = [tag for tag in names if tag not in self.hidden]
        part = shown[(page - 1) * size : page * size]
        if page > 1 and not part:
            return _said(404, "invalid page")  # no source
        is_last = page * size >= len(shown) or page == self.last_page
        if self.last_page is not None and page > self.last_page:
            part = []
        following = f"{self.next_host or self.url}{request.path}?page={page + 1}&page_size={size}"
        results = [self._tag(name, tag, tags[tag]) for tag in part]
        return _json(
            {"count": len(names), "next": None if is_last else following, "previous": None, "results": results}
        )

    def _tag(self, name: str, tag: str, digest: str) -> dict[str, Any]:
        """[D3, D4] `digest` is the index's where there is one, those in `images` its children's."""
        manifests = self.registry.repositories[name].manifests
        stored = manifests[digest]
        pushed, pulled = self.registry.pushed.get((name, tag)), self.registry.pulled.get((name, tag))
        images = [manifests[child] for child in stored.children if child in manifests] or [stored]
        found = {
            "name": tag,
            "digest": digest,
            "media_type": stored.media_type,
            "full_size": _size(images[0]),
            "last_updated": _time(pushed),
            "tag_last_pushed": _time(pushed),
            "tag_last_pulled": self.crawled or _time(pulled),
            "tag_status": "active",
            "images": [
                {
                    "digest": image.digest,
                    "architecture": "amd64",
                    "os": "linux",
                    "variant": None,
                    "size": _size(image),
                    "status": "active",
                    "last_pulled": self.crawled or None,
                    "last_pushed": _time(pushed),
                }
                for image in images
            ],
        }
        if tag in self.without_digest:
            del found["digest"]
        return found

    def _delete(self, name: str, tag: str, user: str) -> Answer:
        """[D3, D4] 204; 404 if there is no such tag. Its manifest stays."""
        if not user:
            return _said(401, "authentication required")
        if "delete" not in self.registry.users[user].actions:
            return _said(self.no_rights, "forbidden" if self.no_rights == 403 else "internal server error")
        repository = self.registry.repositories.get(name)
        if repository is None or tag not in (repository.tags or {}):
            return _said(404, "tag not found")
        assert repository.tags is not None
        repository.tags = {other: digest for other, digest in repository.tags.items() if other != tag}
        return Answer(204)

    def _rate(self, left: int) -> dict[str, str]:
        """[D1] About 600 a minute for an account [D4]."""
        reset = str(int(time.time()) + 60)
        return {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": reset}


def _size(image: Stored) -> int:
    return sum(blob["size"] for blob in image.blobs)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _json(body: object) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _said(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    body = json.dumps({"message": message}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


def _refused(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
