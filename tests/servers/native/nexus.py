"""A simulation of Sonatype Nexus 3: `NexusRegistry` (a connector for docker) and `NexusApi` (its own address).

Sources, named in brackets below:

    N1  sonatype/nexus-public, SearchResource.java, AssetXO.java, SqlTableSearchService.java at several releases
    N2  nexus-public#253 (a component), #550 (untagged manifests; an empty page), #357 (10,000 rows), #925 (ghosts)
    N3  help.sonatype.com, "Viewing Asset Information"; issues.sonatype.org, NEXUS-25991

The code of the format docker is not public. What no source says is marked "no source": the simulation then does what is
worst for a client.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from servers.http import Answer, Endpoint, Request
from servers.profiles import PROFILES, ProfileServer

__all__ = ["NexusApi", "NexusRegistry"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "Nexus")
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<tag>[^:]+)")
_PAGE = 50  # [N1]
_MOST = 10_000  # of the older search [N2]
_BASIC = f"Basic {base64.b64encode(b'ann:a-secret').decode()}"


class NexusRegistry(ProfileServer):
    """The registry of the profile "Nexus": a tag stays that names a deleted manifest. `downloaded`: when a tag was last
    read. `is_open`: no login is wanted."""

    def __init__(self) -> None:
        super().__init__(_PROFILE)
        self.is_open = False
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        self.downloaded: dict[tuple[str, str], datetime] = {}
        self.requests: list[Request] = []
        self.seen: dict[str, str] = {}  # the media types of manifests, also of deleted ones

    def answer(self, request: Request) -> Answer:
        if not self.is_open and request.headers.get("authorization") != _BASIC:
            challenge = {"WWW-Authenticate": 'Basic realm="Sonatype Nexus Repository Manager"'}
            return Answer(401, b"", {**challenge, **self.profile.headers})
        self.requests.append(request)
        found = super().answer(request)
        read = _MANIFEST.fullmatch(request.path)
        # A download is noted once in 12 hours [N3]. Whether a HEAD is one: no source. By digest it is none [N3].
        if read is not None and request.method in ("GET", "HEAD") and found.status == 200:
            key = (read["name"], read["tag"])
            if self.now - self.downloaded.get(key, self.now - timedelta(days=1)) >= timedelta(hours=12):
                self.downloaded[key] = self.now
        return found

    def sent(self, method: str, part: str) -> list[str]:
        """The targets of the requests of a method."""
        return [request.target for request in self.requests if request.method == method and part in request.path]


class NexusApi(Endpoint):
    """The search over the content of a registry, which is the repository `repository` of Nexus.

    `tokens`: "number" (of rows so far), "size" (of the page alone, in some releases), or those of the older search
    ("opaque") [N1]. `tells_downloads`: since some release [N1]. `misses`: tags that the index does not have yet.
    `forgets`: it does not list a tag whose manifest was deleted; whether it does: no source. `members`: further rows,
    of other members of a group, a name of Nexus' repository with tags and digests. `prefix`: what the registry's
    names have before the image's. `lets_in`: whether this login may search the repository; else nothing is found [N1].
    """

    def __init__(self, registry: NexusRegistry, repository: str = "docker-hosted") -> None:
        super().__init__()
        self.registry = registry
        self.repository = repository
        self.tokens = "number"
        self.tells_downloads = self.lets_in = True
        self.forgets = False
        self.misses: set[str] = set()
        self.members: dict[str, dict[str, str]] = {}
        self.prefix = ""
        self.pushed: dict[tuple[str, str], datetime] = {}
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.headers.get("authorization") not in (_BASIC, None):
            return Answer(401)
        if request.method != "GET" or request.path != "/service/rest/v1/search":
            return Answer(404)
        rows = [*self._rows(request.query)] if self.lets_in else []
        token = request.query.get("continuationToken", "")
        first = int(token.removeprefix("token-") or 0)
        if self.tokens == "opaque" and first + _PAGE > _MOST:
            return Answer(500, b"Result window is too large")  # the status: no source
        page = rows[first : first + _PAGE]
        return _json({"items": page, "continuationToken": self._next(first, page)})

    def _next(self, first: int, page: list[Any]) -> str | None:
        if self.tokens == "size":
            return str(len(page))  # of the page, and not None at the end [N1]
        if len(page) < _PAGE:
            return None
        return f"token-{first + _PAGE}" if self.tokens == "opaque" else str(first + _PAGE)

    def _rows(self, query: Any) -> Iterator[dict[str, Any]]:
        """In the order of `sort`; without it the order is not defined [N1]: the worst is another one each time."""
        if query.get("repository") != self.repository or query.get("format") != "docker":
            return
        for full, held in self.registry.repositories.items():
            name = full.removeprefix(self.prefix)
            self.registry.seen.update({one.digest: one.media_type for one in held.manifests.values()})
            if not name.startswith(query["name"]):  # that no other names match: no source
                continue
            tags = sorted(
                (held.tags or {}).items(), reverse=query.get("sort") != "version" and len(self.requests) % 2 == 1
            )
            for tag, digest in tags:
                if tag not in self.misses and not (self.forgets and digest not in held.manifests):
                    yield self._row(self.repository, full, name, tag, digest)
            for member, more in self.members.items():
                for tag, digest in more.items():
                    yield self._row(member, full, name, tag, digest)

    def _row(self, repository: str, full: str, name: str, tag: str, digest: str) -> dict[str, Any]:
        downloaded = self.registry.downloaded.get((full, tag))
        path = f"v2/{name}/manifests/{tag}"
        times = {
            "lastModified": _text(self.pushed.get((full, tag), self.registry.now)),
            "lastDownloaded": _text(downloaded) if downloaded and self.tells_downloads else None,
            "blobCreated": _text(self.registry.now) if self.tells_downloads else None,
        }
        asset = {
            "path": f"/{path}" if self.tells_downloads else path,  # without a slash in older releases [N1]
            "downloadUrl": f"{self.url}/repository/{repository}/{path}",
            "repository": repository,
            "format": "docker",
            "checksum": {"sha1": "0" * 40, "sha256": digest.partition(":")[2]},
            "contentType": self.registry.seen.get(digest, "application/vnd.oci.image.manifest.v1+json"),
            "fileSize": 1583,
            **times,
        }
        component = {"id": f"id-{tag}", "repository": repository, "format": "docker", "group": ""}
        return {**component, "name": name, "version": tag, "assets": [asset]}  # [N2]


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _json(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
