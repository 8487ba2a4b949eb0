"""Google Artifact Registry, simulated: the registry of the profile, whose list of tags describes every manifest.

Sources: [A1] google/go-containerregistry `pkg/v1/google/list.go` and its issues #897 (no paging by Link), #1643 (at
n=1000 the rest is missing in silence), #1645 (10,000 is the most). What no source says is marked "no source".
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from servers.http import Answer, Request
from servers.profiles import PROFILES, ProfileServer

__all__ = ["GoogleServer"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "GCR, Artifact Registry")
_MOST = 10_000  # [A1] #1645
_USUAL = 1000  # without `n`; no source


class GoogleServer(ProfileServer):
    """`now` is the time of every upload. `describes`: the answer has the key `manifest` at all. `children`: the names
    of repositories below. `also`: keys that are put into the description of a digest."""

    def __init__(self) -> None:
        super().__init__(_PROFILE)
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        self.describes = True
        self.children: list[str] = []
        self.also: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []  # the lists of tags, as sent

    def answer(self, request: Request) -> Answer:
        if request.method == "GET" and request.path.endswith("/tags/list"):
            self.asked.append(request.target)
            return self._list(request)
        return super().answer(request)

    def _list(self, request: Request) -> Answer:
        name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
        repository = self.repositories.get(name)
        if repository is None:
            unknown = {"errors": [{"code": "NAME_UNKNOWN", "message": "not found"}]}
            return Answer(404, json.dumps(unknown).encode(), {"Content-Type": "application/json"})
        number = min(int(request.query.get("n", str(_USUAL))), _MOST)
        # Whether `last` is honoured is not known: here it is not, so that what is beyond the page is never seen.
        tags = sorted(repository.tags or {})[:number]
        manifests = list(repository.manifests.values())[:number]
        body: dict[str, Any] = {"name": name, "tags": tags, "child": self.children}
        if self.describes:
            shown = set(tags)
            of: dict[str, list[str]] = {}
            for tag, digest in (repository.tags or {}).items():
                if tag in shown:
                    of.setdefault(digest, []).append(tag)
            body["manifest"] = {
                one.digest: {
                    "imageSizeBytes": str(len(one.raw) + sum(blob["size"] for blob in one.blobs)),  # a text [A1]
                    "layerId": "",
                    "mediaType": one.media_type,
                    "tag": of.get(one.digest, []),
                    "timeCreatedMs": "0",
                    "timeUploadedMs": str(int(self.now.timestamp() * 1000)),  # a text [A1]
                    **self.also.get(one.digest, {}),
                }
                for one in manifests
            }
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})  # no Link: #897
