"""Azure Container Registry, simulated: the registry with its tokens, and `/acr/v1`.

Sources: [Z1] azure-containerregistry 1.2.0 `_generated/` and azure-rest-api-specs 2021-07-01, [Z2] Azure/acr-cli
`internal/`, `acr/models.go`, [Z3] Azure/acr `docs/Token-BasicAuth.md`. How long a page may be is not known: `cap`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from servers.http import Answer, Request
from servers.memory import Stored
from servers.native.tokens import TokenRegistry, User

__all__ = ["AcrServer"]

_PATH = re.compile(r"/acr/v1/(?P<name>.+)/_(?P<what>manifests|tags)(?:/(?P<reference>[^/]+))?")
_USUAL = 100  # a page [Z2]
_READ, _WRITE = frozenset(("metadata_read",)), frozenset(("delete",))
_ALL = frozenset(("pull", "push", "delete", "metadata_read", "metadata_write"))
_OPEN = {"deleteEnabled": True, "writeEnabled": True, "readEnabled": True, "listEnabled": True}


class AcrServer(TokenRegistry):
    """`cap`: the longest page; `strict`: more is an error, else it is cut. `locks`: the attributes that are set to
    False, by repository and tag or digest. `now` is the time of each push, `changed` that of a later change of a
    manifest, by its digest."""

    def __init__(self, *, cap: int = 1000, strict: bool = False) -> None:
        super().__init__(token_path="/oauth2/token", users={"ann": User("a-secret", _ALL)})
        self.cap, self.strict = cap, strict
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        self.changed: dict[str, datetime] = {}
        self.locks: dict[tuple[str, str], set[str]] = {}
        self.calls: list[str] = []  # of the API with a token that it accepts, as sent

    def answer(self, request: Request) -> Answer:
        # The actions for the API are its own: a token for pulling alone lists nothing [Z2, Z3].
        is_api = request.path.startswith("/acr/")
        self.needs["GET"] = _READ if is_api else frozenset(("pull",))
        self.needs["DELETE"] = _WRITE if is_api else frozenset(("pull", "delete"))
        found = super().answer(request)
        return Answer(found.status, found.body, {"Server": "AzureContainerRegistry", **found.headers}, found.cut)

    def concerned(self, request: Request) -> str:
        found = _PATH.fullmatch(request.path)
        return found["name"] if found is not None else super().concerned(request)

    def allowed(self, request: Request) -> Answer:
        if not request.path.startswith("/acr/"):
            return self._distribution(request)
        self.calls.append(f"{request.method} {request.target}")
        found = _PATH.fullmatch(request.path)
        if found is None or found["name"] not in self.repositories:
            return _error(404, "NAME_UNKNOWN")
        if request.method == "DELETE" and found["what"] == "tags" and found["reference"]:
            return self._untag(found["name"], found["reference"])
        if request.method == "GET" and found["reference"] is None:
            return self._list(request, found["name"], found["what"])
        return _error(405, "UNSUPPORTED")

    def _distribution(self, request: Request) -> Answer:
        reference = request.reference
        if request.method == "DELETE" and "/manifests/" in request.path:
            name = self.concerned(request)
            if ":" not in reference or self._is_locked(name, reference):
                return _error(405, "UNSUPPORTED")
        return super().allowed(request)

    def _is_locked(self, name: str, reference: str) -> bool:
        return bool(self.locks.get((name, reference), set()) & {"deleteEnabled", "writeEnabled"})

    def _untag(self, name: str, tag: str) -> Answer:
        """Removes one tag, and keeps its manifest [Z1]; a lock gives 405 [Z2]."""
        tags = self.repositories[name].tags or {}
        if tag not in tags:
            return _error(404, "TAG_UNKNOWN")
        if self._is_locked(name, tag):
            return _error(405, "UNSUPPORTED", "The operation is disallowed on this registry, repository or image.")
        del tags[tag]
        return Answer(202)

    def _list(self, request: Request, name: str, what: str) -> Answer:
        size = int(request.query.get("n", str(_USUAL)))
        if size > self.cap and self.strict:
            return _error(400, "PAGINATION_NUMBER_INVALID")
        size = min(size, self.cap)
        repository = self.repositories[name]
        rows = sorted(repository.manifests) if what == "manifests" else sorted(repository.tags or {})
        rest = [row for row in rows if row > request.query.get("last", "")]
        page = rest[:size]
        made = self._manifest_row if what == "manifests" else self._tag_row
        body = {"registry": "r.azurecr.io", "imageName": name, what: [made(name, row) for row in page] or None}
        query = {"last": page[-1], "n": str(size)} if page else {}
        link = f'<{request.path}?{urlencode(query)}>; rel="next"' if len(rest) > size else ""
        return _json(body, {"Link": link} if link else {})

    def _manifest_row(self, name: str, digest: str) -> dict[str, Any]:
        """A manifest: without a tag it has no `tags`, and only an index has `references` [Z1]."""
        stored = self.repositories[name].manifests[digest]
        tags = [tag for tag, named in (self.repositories[name].tags or {}).items() if named == digest]
        return {
            "digest": digest,
            "imageSize": _size(stored),
            "createdTime": _text(self.now),
            "lastUpdateTime": _text(self.changed.get(digest, self.now)),
            "mediaType": stored.media_type,
            "changeableAttributes": self._attributes(name, digest),
            **({"tags": tags} if tags else {}),
            **({"references": [{"digest": child} for child in stored.children]} if stored.children else {}),
        }

    def _tag_row(self, name: str, tag: str) -> dict[str, Any]:
        return {
            "name": tag,
            "digest": (self.repositories[name].tags or {})[tag],
            "createdTime": _text(self.now),
            "lastUpdateTime": _text(self.now),
            "signed": False,
            "changeableAttributes": self._attributes(name, tag),
        }

    def _attributes(self, name: str, reference: str) -> dict[str, bool]:
        return _OPEN | dict.fromkeys(self.locks.get((name, reference), ()), False)


def _size(stored: Stored) -> int:
    return len(stored.raw) + sum(int(blob["size"]) for blob in stored.blobs)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "1Z")  # seven digits, as .NET writes


def _json(body: Any, headers: dict[str, str]) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})


def _error(status: int, code: str, message: str = "") -> Answer:
    body = {"errors": [{"code": code, "message": message or code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"})
