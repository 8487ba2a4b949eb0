"""GitLab's container registry, simulated: the registry with its tokens, and `/gitlab/v1/`.

Source: [L1] tigrisdata/container-registry (GitLab's 4.32), `docs/spec/gitlab/api.md`, `docs/upstream-differences.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from servers.http import Answer, Request
from servers.native.tokens import TokenRegistry

__all__ = ["GitLabServer"]

_TAGS = re.compile(r"/gitlab/v1/repositories/(?P<name>.+)/tags/list(?P<slash>/?)")
_MOST, _USUAL = 1000, 100  # [L1]


class GitLabServer(TokenRegistry):
    """`has_database`: False for a self-managed GitLab without the metadata database. `says_so`: it has the header for
    that. `now` is the time of each publication; `changed`: the time at which a tag was moved, by repository and tag.
    `before_page`: what somebody else does before a page is made, given the tag after which it begins."""

    def __init__(self) -> None:
        super().__init__(token_path="/jwt/auth")
        self.switches.untags = self.switches.pages_tags = True
        self.has_database = True
        self.says_so = False
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        self.changed: dict[tuple[str, str], datetime] = {}
        self.before_page: Callable[[str], object] = str
        self.calls: list[str] = []  # of the API with a token that it accepts, as sent

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/gitlab/") and not self.has_database:
            return Answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        found = super().answer(request)
        headers = {"Gitlab-Container-Registry-Version": "4.32.0-gitlab"}
        if self.says_so:
            headers["Gitlab-Container-Registry-Database-Enabled"] = str(self.has_database).lower()
        return Answer(found.status, found.body, {**headers, **found.headers}, found.cut)

    def concerned(self, request: Request) -> str:
        found = _TAGS.fullmatch(request.path)
        return found["name"] if found is not None else super().concerned(request)

    def allowed(self, request: Request) -> Answer:
        if not request.path.startswith("/gitlab/"):
            return super().allowed(request)
        self.calls.append(request.target)
        if request.path == "/gitlab/v1/":
            return Answer(200)
        found = _TAGS.fullmatch(request.path)
        if found is None:
            return _error(404, "NOT_FOUND")
        if not found["slash"]:
            return Answer(301, headers={"Location": f"{request.path}/"})
        return self._list(request, found["name"])

    def _list(self, request: Request, name: str) -> Answer:
        text, last = request.query.get("n", str(_USUAL)), request.query.get("last", "")
        if not text.isdigit() or not 1 <= int(text) <= _MOST:
            return _error(400, "INVALID_QUERY_PARAMETER_VALUE")
        self.before_page(last)
        if name not in self.repositories:
            return _error(404, "NAME_UNKNOWN")
        tags = self.repositories[name].tags or {}
        rest = sorted(tag for tag in tags if tag > last)
        page = rest[: int(text)]
        links = [self._link(request, "previous", n=text, before=page[0] if page else last)] if last else []
        if len(rest) > len(page):
            links.append(self._link(request, "next", n=text, last=page[-1]))
        return _json([self._tag(name, tag, tags[tag]) for tag in page], {"Link": ", ".join(links)} if links else {})

    def _link(self, request: Request, relation: str, **query: str) -> str:
        return f'<{self.url}{request.path}?{urlencode(query)}>; rel="{relation}"'

    def _tag(self, name: str, tag: str, digest: str) -> dict[str, Any]:
        """A tag; `published_at` is the newest of the two other times [L1]."""
        stored = self.repositories[name].manifests[digest]
        created, changed = _text(self.now), self.changed.get((name, tag))
        config = stored.body.get("config", {}).get("digest")
        return {
            "name": tag,
            "digest": digest,
            **({"config_digest": config} if config else {}),
            "media_type": stored.media_type,
            "size_bytes": len(stored.raw) + sum(blob["size"] for blob in stored.blobs),
            "created_at": created,
            **({"updated_at": _text(changed)} if changed else {}),
            "published_at": _text(changed) if changed else created,
        }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(body: Any, headers: dict[str, str]) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def _error(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
