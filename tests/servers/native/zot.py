"""zot, simulated: the registry of the profile "zot", and its search.

Source: [T1] project-zot/zot `pkg/extensions/{search,README_mgmt.md}`, `pkg/meta/`, at several versions.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from servers.http import Answer, Request
from servers.memory import Stored
from servers.profiles import PROFILES, ProfileServer

__all__ = ["ZotServer"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "zot")
_QUERY = re.compile(
    r'\{ImageList\(repo:"(?P<name>[^"]*)",requestedPage:\{limit:(?P<limit>\d+),offset:(?P<offset>\d+),'
    r"sortBy:ALPHABETIC_ASC\}\)\{Page\{TotalCount\} Results\{(?P<fields>[A-Za-z ]+)\}\}\}"
)
_SINCE = {"PushTimestamp": (2, 1, 2), "LastPullTimestamp": (2, 1, 2), "TaggedTimestamp": (2, 1, 15)}  # [T1]
_DOCKER_SINCE = (2, 1, 3)  # Docker's media types are missing before (#3019)


class ZotServer(ProfileServer):
    """`version`: whose fields the search has. `has_search`: the extension is switched on. `skipped`: digests that it
    cannot describe, and leaves out in silence (convert/metadb.go). `never`: the time of what was never pulled; it is
    one of two. `status`: that of an error of GraphQL."""

    def __init__(self, version: tuple[int, int, int] = (2, 1, 16)) -> None:
        super().__init__(_PROFILE)
        self.version = version
        self.has_search = True
        self.skipped: set[str] = set()
        self.never = "1970-01-01T00:00:00Z"
        self.status = 200
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        self.pulled: dict[str, datetime] = {}
        self.searches: list[str] = []

    def answer(self, request: Request) -> Answer:
        if request.path == "/v2/_oci/ext/discover" and self.has_search:
            endpoints = ["/v2/_zot/ext/search", "/v2/_zot/ext/mgmt"]
            return _json({"extensions": [{"name": "_zot", "url": "https://zot.example", "endpoints": endpoints}]})
        if request.path == "/v2/_zot/ext/search" and self.has_search:
            self.searches.append(request.query.get("query", ""))
            return self._search(self.searches[-1])
        found = super().answer(request)
        if request.method == "GET" and "/manifests/" in request.path and found.status == 200:
            self.pulled[found.headers["Docker-Content-Digest"]] = self.now  # a HEAD does not count [T1]
        return found

    def _search(self, query: str) -> Answer:
        asked = _QUERY.fullmatch(query)
        if asked is None:
            return _json({"errors": [{"message": "Unexpected Name"}], "data": None}, self.status)
        names = asked["fields"].split()
        for name in names:
            if _SINCE.get(name, (0, 0, 0)) > self.version:
                error = {"message": f'Cannot query field "{name}" on type "ImageSummary".'}
                return _json({"errors": [error], "data": None}, self.status)
        repository = self.repositories.get(asked["name"])
        if repository is None:
            return _json({"data": {"ImageList": {"Page": {"TotalCount": 0}, "Results": []}}})
        rows = [
            {name: value for name, value in self._summary(tag, repository.manifests[digest]).items() if name in names}
            for tag, digest in sorted((repository.tags or {}).items())
            if self._is_described(repository.manifests[digest])
        ]
        first, limit = int(asked["offset"]), int(asked["limit"])
        page = rows[first : first + limit] if limit else rows[first:]  # 0: all [T1]
        return _json({"data": {"ImageList": {"Page": {"TotalCount": len(rows)}, "Results": page}}})

    def _is_described(self, stored: Stored) -> bool:
        return stored.digest not in self.skipped and (
            "docker" not in stored.media_type or self.version >= _DOCKER_SINCE
        )

    def _summary(self, tag: str, stored: Stored) -> dict[str, Any]:
        pulled = self.pulled.get(stored.digest)
        return {
            "Tag": tag,
            "Digest": stored.digest,
            "MediaType": stored.media_type,
            "Size": str(len(stored.raw) + sum(blob["size"] for blob in stored.blobs)),  # a text [T1]
            "PushTimestamp": _text(self.now),
            "TaggedTimestamp": _text(self.now),
            "LastPullTimestamp": _text(pulled) if pulled else self.never,
        }


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
