"""A simulation of GHCR: `GhcrRegistry` (ghcr.io) and `GitHubApi` (api.github.com), GitHub's Packages API.

Sources, named in brackets below:

    G1  npm @octokit/openapi-types 29.0.1, types.d.ts
    G2  dataaxiom/ghcr-cleanup-action, README and src/
    G3  snok/container-retention-policy, README
    A   actions/delete-package-versions #231 (last version), #237 (package not found)

What no source says is marked "no source": the simulation then does what is worst for a client.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from servers.http import Answer, Endpoint, Request
from servers.memory import Stored
from servers.native.tokens import TokenRegistry

__all__ = ["DAYS", "GhcrRegistry", "GitHubApi"]

_VERSIONS = re.compile(
    r"/(?:(?P<kind>orgs|users)/(?P<owner>[^/]+)|user)/packages/container/(?P<name>[^/]+)/versions"
    r"(?:/(?P<id>\d+)(?P<restore>/restore)?)?"
)
DAYS = 86400.0
_KEPT = 30 * DAYS
_MOST_DOWNLOADS = 5000
_DELETIONS_A_MINUTE = 180


@dataclass
class GhcrRegistry(TokenRegistry):
    """The registry: no catalog, no referrers API, and a DELETE is answered with 405."""

    def allowed(self, request: Request) -> Answer:
        if request.path == "/v2/_catalog":
            return Answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        if request.method == "DELETE" and "/manifests/" in request.path:
            return _errors(405, "UNSUPPORTED")
        return super().allowed(request)


@dataclass(frozen=True)
class _Deleted:
    repository: str
    stored: Stored
    tags: tuple[str, ...]
    at: float
    blobs: frozenset[str] = frozenset()


@dataclass
class GitHubApi(Endpoint):
    """The Packages API over the content of a registry.

    `organizations`: the owners that are one; others are users. `downloads`: of public packages. `loses_package`: how
    many requests after each deletion are answered 404 "Package not found" [A #237]. `limited`: the status of what is
    beyond the secondary limit [G3]; whether it is 403 or 429: no source. `lags`: how many listings do not show a new
    version yet: no source. `takes_blobs`: what only a deleted version needs cannot be read or pushed again, until it is
    restored: no source. `hidden`: tags that a listing omits. `last_host`: what the Link header names, in place of
    this server. `deletions` are times.
    """

    registry: GhcrRegistry
    organizations: set[str] = field(default_factory=lambda: {"shop"})
    downloads: dict[str, int] = field(default_factory=dict)
    loses_package: int = 0
    limited: int = 403
    lags: int = 0
    takes_blobs: bool = False
    hidden: set[str] = field(default_factory=set)
    last_host: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.deletions: list[float] = []
        self.deleted: dict[int, _Deleted] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._created: dict[int, float] = {}
        self._unseen: dict[int, int] = {}
        self._lost = 0
        self._next = itertools.count(1000)

    def sent(self, method: str) -> list[str]:
        return [request.target for request in self.requests if request.method == method]

    def age(self, days: float) -> None:
        """All deletions happened so many days earlier."""
        self.deleted = {number: replace(found, at=found.at - days * DAYS) for number, found in self.deleted.items()}

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        user = next((name for name, found in self.registry.users.items() if secret and found.secret == secret), "")
        if not user:
            return _said(401, "Bad credentials")
        if secret.startswith("github_pat_"):  # [G1, G2] fine-grained tokens are not supported
            return _said(403, "Resource not accessible by personal access token")
        path = request.target.partition("?")[0]
        if path == "/user":
            return _json({"login": user, "type": "User"})
        if path.startswith("/users/") and path.count("/") == 2:
            owner = path.removeprefix("/users/")
            return _json({"login": owner, "type": "Organization" if owner in self.organizations else "User"})
        found = _VERSIONS.fullmatch(path)
        if found is None:
            return _said(404, "Not Found")
        owner = found["owner"] or user
        if (found["kind"] == "orgs") != (owner in self.organizations):
            return _said(404, "Not Found")
        repository = f"{owner}/{unquote(found['name'])}"
        if found["kind"] == "users" and repository in self.registry.private:
            return _said(404, "Not Found")  # [G1] public only
        if self._lost:
            self._lost -= 1
            return _said(404, "Package not found.")
        if repository not in self.registry.repositories:
            return _said(404, "Package not found.")
        return self._versions(request, repository, found, user)

    def _versions(self, request: Request, repository: str, found: re.Match[str], user: str) -> Answer:
        self._number(repository)
        if found["id"] is None and request.method == "GET":
            return self._list(request, repository)
        if "delete" not in self.registry.users[user].actions:
            return _said(403, "Must have admin rights to Package.")
        if request.method == "DELETE" and not found["restore"]:
            return self._delete(repository, int(found["id"]))
        if request.method == "POST" and found["restore"]:
            return self._restore(repository, int(found["id"]))
        return _said(404, "Not Found")

    def _number(self, repository: str) -> None:
        """Give each manifest that was pushed since the number of a version."""
        for digest in self.registry.repositories[repository].manifests:
            if (repository, digest) not in self._ids:
                number = self._ids[repository, digest] = next(self._next)
                self._created[number] = time.time()
                self._unseen[number] = self.lags

    def _list(self, request: Request, repository: str) -> Answer:
        """[G1] Pages of at most 100, newest first; the Link header has rel="last" [G2]."""
        content = self.registry.repositories[repository]
        rows: list[tuple[int, str, list[str]]]
        if request.query.get("state", "active") == "deleted":
            rows = [
                (number, gone.stored.digest, list(gone.tags))
                for number, gone in self.deleted.items()
                if gone.repository == repository and time.time() - gone.at < _KEPT
            ]
        else:
            tags: dict[str, list[str]] = {digest: [] for digest in content.manifests}
            for tag, digest in (content.tags or {}).items():
                tags.setdefault(digest, []).append(tag)
            rows = [(self._ids[repository, digest], digest, tags[digest]) for digest in content.manifests]
            unseen = {number for number, _, _ in rows if self._unseen.get(number, 0)}
            self._unseen.update({number: self._unseen[number] - 1 for number in unseen})
            rows = [row for row in rows if row[0] not in unseen]
        rows.sort(reverse=True)
        size, page = min(int(request.query.get("per_page", "30")), 100), int(request.query.get("page", "1"))
        last = max(1, -(-len(rows) // size))
        body = [self._version(*row) for row in rows[(page - 1) * size : page * size]]
        links = []
        if page < last:
            path = request.target.partition("?")[0]
            for relation, number in (("next", page + 1), ("last", last)):
                links.append(f'<{self.last_host or self.url}{path}?per_page={size}&page={number}>; rel="{relation}"')
        return _json(body, {"Link": ", ".join(links)} if links else {})

    def _version(self, number: int, digest: str, tags: list[str]) -> dict[str, Any]:
        """[G1] No size, no media type, no parent."""
        created = datetime.fromtimestamp(self._created[number], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        shown = sorted(tag for tag in tags if tag not in self.hidden)
        metadata = {"package_type": "container", "container": {"tags": shown}}
        return {"id": number, "name": digest, "created_at": created, "updated_at": created, "metadata": metadata}

    def _delete(self, repository: str, number: int) -> Answer:
        """[G1, G2] 204: the digest and all its tags."""
        now = time.time()
        if len([at for at in self.deletions if now - at < 60]) >= _DELETIONS_A_MINUTE:  # [G3]
            return _said(self.limited, "You have exceeded a secondary rate limit.", {"Retry-After": "1"})
        content = self.registry.repositories[repository]
        digest = next((digest for (name, digest), key in self._ids.items() if (name, key) == (repository, number)), "")
        if digest not in content.manifests:
            return _said(404, "Not Found")
        if self.downloads.get(repository, 0) > _MOST_DOWNLOADS and repository not in self.registry.private:
            # [G1, G2] refused; the status: no source
            return _said(400, "Publicly visible package versions with more than 5000 downloads cannot be deleted.")
        tagged = set((content.tags or {}).values())
        if len(content.manifests) == 1 or tagged == {digest}:  # [A #231]
            return _said(400, "You cannot delete the last tagged version of a package.")
        tags = tuple(tag for tag, on in (content.tags or {}).items() if on == digest)
        stored = content.manifests.pop(digest)
        needed = {blob["digest"] for manifest in content.manifests.values() for blob in manifest.blobs}
        blobs = frozenset(blob["digest"] for blob in stored.blobs) - needed if self.takes_blobs else frozenset()
        content.blobs -= blobs
        self.deleted[number] = _Deleted(repository, stored, tags, now, blobs)
        content.tags = {tag: on for tag, on in (content.tags or {}).items() if on != digest}
        del self._ids[repository, digest]
        self.deletions.append(now)
        self._lost = self.loses_package
        return Answer(204)

    def _restore(self, repository: str, number: int) -> Answer:
        """[G1] Within 30 days, unless its name is used again. Its tags come back, wherever they are: no source."""
        gone = self.deleted.get(number)
        content = self.registry.repositories[repository]
        if gone is None or gone.repository != repository or time.time() - gone.at >= _KEPT:
            return _said(404, "Not Found")
        if gone.stored.digest in content.manifests:
            return _said(404, "Not Found")
        del self.deleted[number]
        content.blobs |= gone.blobs
        content.manifests[gone.stored.digest] = gone.stored
        content.tags = {**(content.tags or {}), **dict.fromkeys(gone.tags, gone.stored.digest)}
        self._ids[repository, gone.stored.digest] = number
        return Answer(204)


def _json(body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        200, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def _said(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        status, json.dumps({"message": message}).encode(), {"Content-Type": "application/json", **(headers or {})}
    )


def _errors(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
