"""A simulation of Quay: the registry of the profile "Quay", and `/api/v1`.

Source: quay/quay, [Q1] endpoints/api/tag.py (fields, pages), [Q2] endpoints/decorators.py (no password by HTTP Basic).
The status for a private repository has no source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from servers.http import Answer, Request
from servers.profiles import PROFILES, ProfileServer

__all__ = ["QuayServer"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "Quay")
_TAGS = re.compile(r"/api/v1/repository/(?P<name>[^/]+/.+)/tag/")


class QuayServer(ProfileServer):
    """`private` repositories are not shown. `pushed`: when a tag came to its digest, in seconds since 1970; the later
    ones are listed first. `immutable`: tags. `calls`: the requests to its API, `logins` what was sent with
    them. `before_page`: what somebody else does before a page is made."""

    def __init__(self) -> None:
        super().__init__(_PROFILE)
        self.private: set[str] = set()
        self.pushed: dict[tuple[str, str], int] = {}
        self.immutable: set[str] = set()
        self.calls: list[str] = []
        self.logins: list[str | None] = []
        self.before_page: Callable[[int], object] = int

    def answer(self, request: Request) -> Answer:
        if request.path == "/v2/":  # by its realm Quay is recognised
            found = super().answer(request)
            return replace(found, headers={**found.headers, "WWW-Authenticate": f'Bearer realm="{self.url}/v2/auth"'})
        if not request.path.startswith("/api/"):
            return super().answer(request)
        self.calls.append(request.target)
        self.logins.append(request.headers.get("authorization"))
        found_path = _TAGS.fullmatch(request.path)
        if found_path is None or request.headers.get("authorization"):
            return Answer(401, b'{"message": "Requires authentication"}')  # [Q2]
        name = found_path["name"]
        if name in self.private or name not in self.repositories:
            return Answer(401, b'{"message": "Requires authentication"}')
        return self._tags_page(request, name)

    def _tags_page(self, request: Request, name: str) -> Answer:
        """[Q1] At most 100, newest first; deleted tags too without `onlyActiveTags`."""
        assert request.query.get("onlyActiveTags") == "true", "tags that are gone are listed as well"
        self.before_page(int(request.query.get("page", "1")))
        tags = self.repositories[name].tags or {}
        names = sorted(tags, key=lambda tag: (-self.pushed.get((name, tag), 0), tag))
        size, page = min(int(request.query.get("limit", "50")), 100), int(request.query.get("page", "1"))
        part = names[(page - 1) * size : page * size]
        body = {
            "tags": [self._tag(name, tag, tags[tag]) for tag in part],
            "page": page,
            "has_additional": page * size < len(names),
        }
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _tag(self, name: str, tag: str, digest: str) -> dict[str, Any]:
        stored = self.repositories[name].manifests[digest]
        is_list = bool(stored.children)
        return {
            "name": tag,
            "reversion": False,
            "start_ts": self.pushed.get((name, tag), 1_700_000_000),
            "manifest_digest": digest,
            "is_manifest_list": is_list,
            "size": None if is_list else 4100,
            "last_modified": "Fri, 02 Jan 2026 03:04:05 -0000",
            "immutable": tag in self.immutable,
        }
