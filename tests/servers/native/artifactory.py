"""JFrog Artifactory, simulated: the registry of the profile "Artifactory", and its query language.

Sources: [J1] jfrog.com/help "users without admin privileges", devopshq/artifactory-cleanup; [J2] docs.jfrog.com "AQL
performance"; crazy-max/artifactory-cleanup #150 (downloads are counted at the manifest's file). That the file's SHA-256
is the digest, and how children are kept, is not from a source.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from servers.http import Answer, Request
from servers.memory import Stored
from servers.profiles import PROFILES, ProfileServer

__all__ = ["ArtifactoryServer"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "Artifactory")
_QUERY = re.compile(r'items\.find\((\{.*\})\)\.include\(((?:"[a-z0-9_.]+",?)+)\)')
_AT_ONCE = 3  # [J2]


class ArtifactoryServer(ProfileServer):
    """All images are in the repository `key`. `in_names`: the names of images begin with it, else it is the first part
    of the host's name. `most`: the rows of an answer. `downloaded`, `remote`: the last download of a tag, itself or
    through another Artifactory."""

    def __init__(self, key: str = "docker-local", *, in_names: bool = True) -> None:
        super().__init__(_PROFILE)
        self.key, self.in_names = key, in_names
        self.basic = f"Basic {base64.b64encode(b'ann:a-secret').decode()}"
        self.most = 500_000  # [J2]
        self.hashes_otherwise = False
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        self.downloaded: dict[tuple[str, str], datetime] = {}
        self.remote: dict[tuple[str, str], datetime] = {}
        self.queries: list[str] = []
        self.at_once = self.most_at_once = 0

    async def respond(self, request: Request) -> Answer:
        if request.path != "/artifactory/api/search/aql":
            return self.answer(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.005)
        found = Answer(429) if self.at_once > _AT_ONCE else self._answer_query(request)
        self.at_once -= 1
        return found

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != self.basic:
            return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="Artifactory Realm"', **self.profile.headers})
        return super().answer(request)

    def _answer_query(self, request: Request) -> Answer:
        if request.headers.get("authorization") != self.basic:
            return _error(401, "Bad credentials")
        text = request.body.decode()
        found = _QUERY.fullmatch(text)
        if request.method != "POST" or request.headers.get("content-type") != "text/plain" or found is None:
            return _error(400, "Failed to parse query")
        self.queries.append(text)
        wanted, included = json.loads(found[1]), set(re.findall(r'"([^"]+)"', found[2]))
        if not {"repo", "path", "name"} <= included:  # for users without the rights of an administrator [J1]
            return _error(403, "Required fields are missing")
        rows = [row for row in self._rows() if all(_matches(row[name], rule) for name, rule in wanted.items())]
        shown = [{name: value for name, value in row.items() if _is_included(name, included)} for row in rows]
        size: dict[str, Any] = {
            "start_pos": 0,
            "end_pos": min(len(rows), self.most),
            "total": min(len(rows), self.most),
        }
        if len(rows) > self.most:
            size["notification"] = "AQL query reached the search hard limit, results are trimmed."
        return Answer(200, json.dumps({"results": shown[: self.most], "range": size}).encode())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for name, repository in self.repositories.items():
            image = name.removeprefix(f"{self.key}/") if self.in_names else name
            for tag, digest in (repository.tags or {}).items():
                yield self._row(name, f"{image}/{tag}", repository.manifests[digest], tag)
            for stored in repository.manifests.values():
                if stored.digest not in (repository.tags or {}).values():
                    yield self._row(name, f"{image}/{stored.digest}", stored, stored.digest)

    def _row(self, name: str, path: str, stored: Stored, tag: str) -> dict[str, Any]:
        times = {
            field: _text(found[name, tag])
            for field, found in (("downloaded", self.downloaded), ("remote_downloaded", self.remote))
            if (name, tag) in found
        }
        return {
            "repo": self.key,
            "path": path,
            "name": "list.manifest.json" if stored.children else "manifest.json",
            "sha256": "0" * 64 if self.hashes_otherwise else stored.digest.partition(":")[2],
            "created": _text(self.now),
            "modified": _text(self.now),
            **({"stats": [times]} if times else {}),
        }


def _is_included(name: str, included: set[str]) -> bool:
    return name in included or (name == "stats" and "stat.downloaded" in included)


def _matches(value: str, rule: str | dict[str, str]) -> bool:
    return value == rule if isinstance(rule, str) else fnmatchcase(value, rule["$match"])  # `*` matches `/` as well


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(status: int, message: str) -> Answer:
    return Answer(status, json.dumps({"errors": [{"status": status, "message": message}]}).encode())
