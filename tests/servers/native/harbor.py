"""Harbor 2.x, simulated: the registry of the profile "Harbor", and the part of its API for artifacts.

Sources: [H1] goharbor/harbor `api/v2.0/swagger.yaml`, [H2] its `src/`. What no source says (`tags` null or empty, the
order of a list) is chosen by the test.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from servers.http import Answer, Request
from servers.memory import Stored
from servers.profiles import PROFILES, ProfileServer

__all__ = ["HarborServer"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "Harbor")
_ARTIFACTS = re.compile(
    r"/api/v2\.0/projects/(?P<project>[^/]+)/repositories/(?P<rest>[^/]+)/artifacts"
    r"(?:/(?P<reference>[^/]+)(?:/tags/(?P<tag>[^/]+))?)?"
)
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
_NEVER = datetime(1, 1, 1, tzinfo=UTC)  # Go's zero time, in place of "never pulled" [H2]
_MOST = 100  # a page; more is 422 (goharbor/harbor#13765)
_ITS_OWN = "harbor-registry-client"  # its pulls are not counted [H2]


class HarborServer(ProfileServer):
    """`now` is the time of every push and pull. `immutable`: tags that a rule protects. `records_pulls`: False with
    `pull_time_update_disable`. `updates_parents`: a pull of a child counts for its index (since 2.15.2: #22402).
    `bare`: `tags` of an artifact without one. `newest_first`: the order of a list.
    `before_page`: what somebody else does before a page is made."""

    def __init__(self, user: str = "robot$ci", password: str = "a secret of Harbor") -> None:
        super().__init__(_PROFILE)
        self.basic = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.pushed: dict[tuple[str, str], datetime] = {}
        self.pulled: dict[tuple[str, str], datetime] = {}
        self.immutable: set[str] = set()
        self.records_pulls = True
        self.updates_parents = False
        self.newest_first = False
        self.bare: list[Any] | None = None
        self.before_page: Callable[[int], object] = int
        self.calls: list[str] = []  # of the API, as sent

    def answer(self, request: Request) -> Answer:
        if request.path == "/service/token":
            return self._token(request)
        if request.path.startswith("/api/"):
            self.calls.append(f"{request.method} {request.target}")
            return self._api(request)
        if request.headers.get("authorization") != "Bearer of-the-registry":
            realm = f'Bearer realm="{self.url}/service/token",service="harbor-registry"'
            return Answer(401, b"", {"WWW-Authenticate": realm})
        found = super().answer(request)
        self._note(request, found)
        return found

    def _token(self, request: Request) -> Answer:
        if request.headers.get("authorization") != self.basic:
            return _error(401, "UNAUTHORIZED")
        return _json({"token": "of-the-registry", "expires_in": 1800})

    def _note(self, request: Request, answer: Answer) -> None:
        found = _MANIFEST.fullmatch(request.path)
        if found is None or answer.status not in (200, 201):
            return
        key = (found["name"], answer.headers["Docker-Content-Digest"])
        if request.method == "PUT":
            self.pushed.setdefault(key, self.now)
        elif request.method == "GET" and request.headers.get("user-agent") != _ITS_OWN:  # a HEAD does not count [H2]
            self.pull(*key)

    def pull(self, repository: str, digest: str) -> None:
        """A pull by digest, as Docker does after a HEAD: the times of the tags stay zero (#16230)."""
        if not self.records_pulls:
            return
        self.pulled[repository, digest] = self.now
        for parent in self.repositories[repository].manifests.values() if self.updates_parents else ():
            if digest in parent.children:
                self.pulled[repository, parent.digest] = self.now

    # The API

    def _api(self, request: Request) -> Answer:
        # Basic is the only login of a program; the token of /service/token is valid under /v2 alone [H2].
        if request.headers.get("authorization") != self.basic:
            return _error(401, "UNAUTHORIZED")
        # The server decodes the path before it finds the operation, and the name of the repository once more: encoded
        # once, a slash in the name makes another path [H1].
        found = _ARTIFACTS.fullmatch(request.path)
        if found is None:
            return _error(404, "NOT_FOUND")
        name = f"{found['project']}/{unquote(found['rest'])}"
        if name not in self.repositories:
            return _error(404, "NOT_FOUND")
        if request.method == "GET" and found["reference"] is None:
            return self._list(request, name)
        if request.method == "DELETE" and found["tag"] is not None:
            return self._delete_one_tag(name, found["reference"], found["tag"])
        if request.method == "DELETE" and found["reference"] is not None:
            return self._delete_artifact(name, found["reference"])
        return _error(405, "METHOD_NOT_ALLOWED")

    def _list(self, request: Request, name: str) -> Answer:
        number, size = int(request.query.get("page", "1")), int(request.query.get("page_size", "10"))
        if size > _MOST:
            return _error(422, "UNPROCESSABLE_ENTITY")
        self.before_page(number)
        manifests = self.repositories[name].manifests
        children = {child for found in manifests.values() for child in found.children}
        tagged = set((self.repositories[name].tags or {}).values())
        everything = request.query.get("q", "") == "base=*"  # else what has a tag, or no parent [H2]
        shown = [one for one in manifests.values() if everything or one.digest in tagged or one.digest not in children]
        if self.newest_first:
            shown.reverse()
        page = [self._artifact(name, one, request) for one in shown[(number - 1) * size : number * size]]
        headers = {"X-Total-Count": str(len(shown))}
        if number * size < len(shown):
            headers["Link"] = f'<{request.path}?page={number + 1}&page_size={size}>; rel="next"'
        return _json(page, headers)

    def _artifact(self, name: str, stored: Stored, request: Request) -> dict[str, Any]:
        tags = [tag for tag, digest in (self.repositories[name].tags or {}).items() if digest == stored.digest]
        shows_locks = request.query.get("with_immutable_status") == "true"
        pushed = _text(self.pushed.get((name, stored.digest), self.now))
        return {
            "digest": stored.digest,
            "manifest_media_type": stored.media_type,
            "media_type": "application/vnd.oci.image.config.v1+json",
            "size": len(stored.raw) + sum(blob["size"] for blob in stored.blobs),
            "push_time": pushed,
            "pull_time": _text(self.pulled.get((name, stored.digest), _NEVER)),
            "references": [{"child_digest": child, "platform": {}} for child in stored.children] or None,
            "tags": [
                {"name": tag, "push_time": pushed, "pull_time": _text(_NEVER)}
                | ({"immutable": tag in self.immutable} if shows_locks else {})
                for tag in tags
            ]
            or self.bare,
        }

    def _delete_one_tag(self, name: str, reference: str, tag: str) -> Answer:
        tags = self.repositories[name].tags or {}
        if tags.get(tag) is None or reference not in (tag, tags[tag]):
            return _error(404, "NOT_FOUND")
        if tag in self.immutable:
            return _error(412, "PRECONDITION")
        del tags[tag]
        return Answer(200)

    def _delete_artifact(self, name: str, reference: str) -> Answer:
        tags = self.repositories[name].tags or {}
        digest = tags.get(reference, reference)
        manifests = self.repositories[name].manifests
        if digest not in manifests:
            return _error(404, "NOT_FOUND")
        is_held = any(digest in found.children for found in manifests.values())
        if is_held or any(tag in self.immutable for tag, named in tags.items() if named == digest):
            return _error(412, "PRECONDITION")
        self._take(self.repositories[name], digest)  # with children that have no tag and no other index [H2]
        return Answer(200)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z".rjust(24, "0")


def _json(body: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(
        200, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def _error(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
