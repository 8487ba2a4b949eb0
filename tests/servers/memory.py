"""A registry in memory, with real HTTP: the behaviour of distribution 2.8, and switches for that of other servers.

`test_contract.py` compares it with the real one, with the same requests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from servers.http import Answer, Endpoint, Request

__all__ = ["MemoryServer", "Stored", "Switches"]

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|tags|referrers|blobs/uploads|blobs)/(?P<reference>[^/]*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_MOST = 1000
_STATUS = {
    "BLOB_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "UNSUPPORTED": 405,
}


@dataclass
class Switches:
    """Behaviour that differs from distribution 2.8.

    `deletes`: deletion is allowed at all. `untags`: DELETE of a tag removes only the tag (3.x), otherwise it is
    refused. `last_tag_takes`: a manifest is deleted with its last tag (ECR). `cascades`: an index is deleted with its
    children that have no tag and no other index (Harbor), a subject with such referrers. `keeps_tags`: a deleted
    manifest leaves its tags dangling. `answers_by_tag`: it goes on answering by its tags (go-containerregistry's
    registry). `has_referrers`: the referrers API. `pages_tags`: tags are listed in pages.
    `unlinks_blobs`: DELETE of a layer's digest as a manifest takes the layer (2.8). `needs_children`: an index without
    its children is refused. `digest_parameter`: a tag is put by the digest that the query names (OCI 1.1).

    `refused`: a digest or tag, and the status with which its DELETE is refused. `failing`: processed, and then
    answered with that status. `hidden`: existing tags that the list omits. `absent`: tags that are listed but answered
    with 404. `unlisted`: repositories that the catalog omits.
    """

    deletes: bool = True
    untags: bool = False
    last_tag_takes: bool = False
    cascades: bool = False
    keeps_tags: bool = False
    answers_by_tag: bool = False
    has_referrers: bool = False
    pages_tags: bool = False
    unlinks_blobs: bool = True
    needs_children: bool = True
    digest_parameter: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stored:
    """A manifest as pushed."""

    digest: str
    media_type: str
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found = json.loads(self.raw)
        return found if isinstance(found, dict) else {}

    @property
    def children(self) -> list[str]:
        return [child["digest"] for child in self.body.get("manifests") or ()]

    @property
    def blobs(self) -> list[dict[str, Any]]:
        """Config and layers, without those stored elsewhere."""
        body = self.body
        config = [body["config"]] if body.get("config") else []
        return [blob for blob in (*config, *(body.get("layers") or ())) if not blob.get("urls")]


@dataclass
class _Repository:
    manifests: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] | None = None  # None until the first one
    blobs: set[str] = field(default_factory=set)
    by_tag: dict[str, Stored] = field(default_factory=dict)  # deleted, and still there by these tags


class MemoryServer(Endpoint):
    """Its content is in `repositories` and `blobs`, which tests can read, and change between requests."""

    def __init__(self, switches: Switches | None = None) -> None:
        super().__init__()
        self.switches = switches or Switches()
        self.repositories: dict[str, _Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self._uploads = itertools.count()

    def answer(self, request: Request) -> Answer:
        if request.path == "/v2/":
            return _json({})
        if request.path == "/v2/_catalog":
            return self._listed(request, "repositories", sorted(self.repositories.keys() - self.switches.unlisted), {})
        found = _PATH.fullmatch(request.path)
        if found is None:
            return Answer(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        name, reference = found["name"], found["reference"]
        match found["what"]:
            case "manifests":
                return self._manifest(request, name, reference)
            case "tags":
                return self._tags(request, name)
            case "referrers" if self.switches.has_referrers:
                return self._referrers(name, reference)
            case "blobs":
                return self._blob(request, name, reference)
            case "blobs/uploads":
                return self._upload(request, name, reference)
        return Answer(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})

    def collect_garbage(self) -> None:
        """Delete what no manifest refers to any more, including the deleted manifests."""
        stored = [manifest for found in self.repositories.values() for manifest in found.manifests.values()]
        marked = {blob["digest"] for manifest in stored for blob in manifest.blobs}
        for digest in self.blobs.keys() - marked:
            del self.blobs[digest]

    # Lists

    def _listed(self, request: Request, key: str, names: list[str], more: dict[str, str]) -> Answer:
        try:
            number = int(request.query.get("n", "100"))
        except ValueError:
            number = -1
        if not 0 <= number <= _MOST:
            return _error("PAGINATION_NUMBER_INVALID")
        rest = [name for name in names if name > request.query.get("last", "")]
        page = rest[:number]
        link = f'<{request.path}?last={page[-1]}&n={number}>; rel="next"' if page and len(page) == number else ""
        return _json({**more, key: page}, {"Link": link} if link else {})

    def _tags(self, request: Request, name: str) -> Answer:
        found = self.repositories.get(name, _Repository()).tags
        if found is None:
            return _error("NAME_UNKNOWN")
        names = sorted(found.keys() - self.switches.hidden)
        if self.switches.pages_tags:
            return self._listed(request, "tags", names, {"name": name})
        return _json({"name": name, "tags": names or None})

    def _referrers(self, name: str, subject: str) -> Answer:
        found = [
            {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)}
            for manifest in self.repositories.get(name, _Repository()).manifests.values()
            if (manifest.body.get("subject") or {}).get("digest") == subject
        ]
        media_type = "application/vnd.oci.image.index.v1+json"
        body = {"schemaVersion": 2, "mediaType": media_type, "manifests": found}
        return _json(body, {"Content-Type": media_type})

    # Manifests

    def _manifest(self, request: Request, name: str, reference: str) -> Answer:
        if request.method == "PUT":
            return self._put(request, name, reference)
        if request.method == "DELETE":
            return self._delete(name, reference)
        repository = self.repositories.get(name, _Repository())
        digest = reference if ":" in reference else (repository.tags or {}).get(reference, "")
        found = repository.manifests.get(digest)
        if found is None and reference in repository.by_tag:
            found = repository.by_tag[reference]
        if found is None or reference in self.switches.absent:
            return _error("MANIFEST_UNKNOWN")
        headers = {"Docker-Content-Digest": digest, "Content-Type": found.media_type, "Etag": f'"{digest}"'}
        if request.headers.get("if-none-match") == f'"{digest}"':
            return Answer(304, headers=headers)
        return Answer(200, found.raw, {**headers, "Content-Length": str(len(found.raw))})

    def _put(self, request: Request, name: str, reference: str) -> Answer:
        named = request.query.get("digest", "sha256:") if self.switches.digest_parameter else "sha256:"
        digest = _digest(request.body, reference if ":" in reference else named)
        if ":" in reference and reference != digest:
            return _error("DIGEST_INVALID")
        media_type = request.headers.get("content-type", "")
        stored = Stored(digest, media_type, request.body)
        try:
            named = stored.body.get("mediaType", media_type)
        except ValueError:
            named = ""
        if named != media_type:
            return _error("MANIFEST_INVALID")
        repository = self.repositories.get(name, _Repository())
        missing = [
            child  # which may be a blob: BuildKit caches are indexes of blobs
            for child in stored.children
            if self.switches.needs_children
            and child not in repository.manifests
            and not self._has_blob(repository, child)
        ]
        missing += [blob["digest"] for blob in stored.blobs if not self._has_blob(repository, blob["digest"])]
        if missing:
            return _error(*["MANIFEST_BLOB_UNKNOWN"] * len(missing))
        repository = self.repositories.setdefault(name, repository)
        repository.manifests[digest] = stored
        if ":" not in reference:
            repository.tags = {**(repository.tags or {}), reference: digest}
            repository.by_tag.pop(reference, None)
        return Answer(201, headers={"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"})

    def _delete(self, name: str, reference: str) -> Answer:
        if not self.switches.deletes:
            return _error("UNSUPPORTED")
        if reference in self.switches.refused:
            return _refusal(self.switches.refused[reference])
        answer = self._delete_digest(name, reference) if ":" in reference else self._delete_tag(name, reference)
        if answer.status == 202 and reference in self.switches.failing:
            return _refusal(self.switches.failing[reference])
        return answer

    def _delete_tag(self, name: str, tag: str) -> Answer:
        if not self.switches.untags:
            return _error("DIGEST_INVALID")
        repository = self.repositories.get(name, _Repository())
        digest = (repository.tags or {}).pop(tag, None)
        repository.by_tag.pop(tag, None)
        if digest is None:
            return _error("MANIFEST_UNKNOWN")
        if self.switches.last_tag_takes and digest not in (repository.tags or {}).values():
            self._take(repository, digest)
        return Answer(202)

    def _delete_digest(self, name: str, digest: str) -> Answer:
        if not _DIGEST.fullmatch(digest):
            return _error("DIGEST_INVALID")
        repository = self.repositories.get(name, _Repository())
        if digest in repository.manifests:
            self._take(repository, digest)
        elif self.switches.unlinks_blobs and self._has_blob(repository, digest):
            repository.blobs.remove(digest)  # as 2.8 does: a blob of that digest is unlinked
        else:
            return _error("MANIFEST_UNKNOWN")
        return Answer(202)

    def _take(self, repository: _Repository, digest: str) -> None:
        taken = repository.manifests.pop(digest, None)
        if self.switches.answers_by_tag and taken is not None:
            names = [tag for tag, found in (repository.tags or {}).items() if found == digest]
            repository.by_tag.update(dict.fromkeys(names, taken))
        elif not self.switches.keeps_tags and repository.tags is not None:
            repository.tags = {tag: found for tag, found in repository.tags.items() if found != digest}
        if self.switches.cascades and taken is not None:
            for other in list(_company(repository, taken)):
                self._take(repository, other)

    # Blobs

    def _has_blob(self, repository: _Repository, digest: str) -> bool:
        return digest in repository.blobs and digest in self.blobs

    def _blob(self, request: Request, name: str, digest: str) -> Answer:
        repository = self.repositories.get(name, _Repository())
        if not self._has_blob(repository, digest):
            return _error("BLOB_UNKNOWN")
        if request.method == "DELETE":
            repository.blobs.remove(digest)
            return Answer(202)
        raw = self.blobs[digest]
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if asked is None:
            return Answer(200, raw, {**headers, "Content-Length": str(len(raw))})
        if int(asked[1]) >= len(raw):
            return Answer(416)
        part = raw[int(asked[1]) : int(asked[2]) + 1]
        return Answer(206, part, {**headers, "Content-Range": f"bytes {asked[1]}-{asked[2]}/{len(raw)}"})

    def _upload(self, request: Request, name: str, upload: str) -> Answer:
        repository = self.repositories.setdefault(name, _Repository())
        if request.method == "POST":
            mounted, source = request.query.get("mount", ""), request.query.get("from", "")
            if self._has_blob(self.repositories.get(source, _Repository()), mounted):
                repository.blobs.add(mounted)
                return Answer(201, headers={"Docker-Content-Digest": mounted})
            return Answer(202, headers={"Location": f"/v2/{name}/blobs/uploads/{next(self._uploads)}"})
        digest = request.query.get("digest", "")
        if not _DIGEST.fullmatch(digest) or _digest(request.body, digest) != digest:
            return _error("DIGEST_INVALID")
        self.blobs[digest] = request.body
        repository.blobs.add(digest)
        return Answer(201, headers={"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})


def _digest(raw: bytes, like: str) -> str:
    """The digest of `raw`, by the algorithm of another digest."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"


def _company(repository: _Repository, taken: Stored) -> Iterator[str]:
    """What a cascading server deletes along: children that nothing else holds, and referrers."""
    held = {child for manifest in repository.manifests.values() for child in manifest.children}
    tagged = set((repository.tags or {}).values())
    referrers = [
        manifest.digest
        for manifest in repository.manifests.values()
        if (manifest.body.get("subject") or {}).get("digest") == taken.digest
    ]
    for digest in (*taken.children, *referrers):
        if digest in repository.manifests and digest not in held and digest not in tagged:
            yield digest


def _json(body: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def _error(*codes: str) -> Answer:
    return _errors(_STATUS[codes[0]], codes)


def _errors(status: int, codes: Iterable[str]) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")} for code in codes]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _refusal(status: int) -> Answer:
    code = {403: "DENIED", 405: "UNSUPPORTED", 409: "TAG_IMMUTABLE", 412: "PRECONDITION"}.get(status, "UNKNOWN")
    return _errors(status, [code])
