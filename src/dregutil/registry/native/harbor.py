"""Harbor 2.x: lists artifacts with tags, sizes, locks, push and pull times, and removes a single tag.

The API is at the registry's own address, below `/api/v2.0`. It takes HTTP Basic only: the token for `/v2` is not valid
there. A list of 10,000 artifacts takes 102 requests, of which most are sent at once.

`size` is that of the artifact with its layers, as Harbor counts it.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dregutil import clock
from dregutil.errors import NoListingError, RegistryError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.http.transport import Answer
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.client import ApiClient, encoded
from dregutil.registry.native.service import MayReturn
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["Harbor", "is_harbor"]

_NAME = "Harbor's API"
_PAGE = 100  # more is an error (422)
_FRESH = 30.0  # seconds: what a DELETE rests on was read just before
_LIST: Mapping[str, str | int] = {
    "page_size": _PAGE,
    "with_tag": "true",
    "with_immutable_status": "true",
    "q": "base=*",  # children of indexes as well: a pull by Docker counts for the child alone
}
_SCANNERS = "a vulnerability scanner's pulls count as well, unless Harbor is set to skip them"
_SWITCHED_OFF = "Harbor names no pull of any artifact: it may be set not to record them"
_CHILD_MISSING = "Harbor does not list all children of the indexes: whether those were pulled is not known"
_PROTECTED = "an immutability rule of the project holds it, or an index that stays refers to it"


def is_harbor(_: RegistryAddress, evidence: Evidence) -> bool:
    return name_server(evidence).name == "Harbor"


class Harbor:
    """Harbor's own API; implements `Service`."""

    name = _NAME
    page = _PAGE
    keeps_layers_apart = True
    reading_counts = True
    deletes_tags = True
    deletes_manifests = True
    restores = False
    tags_first = False
    deletes_at_once = 1

    def __init__(self, access: Access) -> None:
        self._access = access
        self._may_write = False

    def writing(self) -> Harbor:
        found = copy.copy(self)
        found._may_write = True  # noqa: SLF001 - its own class
        return found

    async def listing(self, repository: Repository) -> Listing:
        """All artifacts, with those that have no tag. Raises NoListingError, and what reading a registry raises."""
        client, path = self._client(repository), _artifacts(repository)

        async def read(number: int) -> _Page:
            document, answer = await client.get(path, {**_LIST, "page": number})
            total = fields.number(answer.headers.get("X-Total-Count"))
            if total is None:
                raise NoListingError(f"{_NAME} does not say how many artifacts {repository} has")
            return _Page(_artifacts_in(document), total)

        artifacts, is_complete = await _read_all(client, read)
        if not is_complete:  # something was pushed or deleted meanwhile
            artifacts, is_complete = await _read_all(client, read)
        return _listing(artifacts, is_complete=is_complete)

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Remove one tag; its artifact stays. Raises RegistryError if the tag is immutable."""
        path = f"{_artifacts(repository)}/{encoded(tag)}/tags/{encoded(tag)}"
        return await self._delete(repository, path, f"delete the tag {repository}:{tag}")

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Remove an artifact with its tags; its untagged children that no other index refers to go with it.

        Raises RegistryError for a child of an index, and for an artifact with an immutable tag.
        """
        path = f"{_artifacts(repository)}/{encoded(digest)}"
        return await self._delete(repository, path, f"delete {digest.short} of {repository}")

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        raise NotImplementedError

    async def _delete(self, repository: Repository, path: str, action: str) -> bool:
        client = self._client(repository)
        answer = await client.change("DELETE", path, begun_by=clock.now() + _FRESH)
        if 200 <= answer.status < 300:
            return True
        if answer.status == 404:
            return False
        raise _refusal(client, answer, action)

    def _client(self, repository: Repository) -> ApiClient:
        found = self._access.here(_NAME, self._access.basic(repository))
        return found.writing() if self._may_write else found


def _refusal(client: ApiClient, answer: Answer, action: str) -> Exception:
    error = client.refused(answer, action)
    if isinstance(error, RegistryError) and answer.status == 412:
        message = f"{_NAME} could not {action}: it is immutable or referred to (status 412)"
        return RegistryError(message, status=412, errors=error.errors, advice=_PROTECTED)
    return error


def _artifacts(repository: Repository) -> str:
    """The path of a repository's artifacts. Harbor decodes the name within the project twice. Raises NoListingError."""
    project, _, rest = repository.partition("/")
    if not rest:
        raise NoListingError(f"{_NAME}: {repository} is in no project")
    return f"/api/v2.0/projects/{encoded(project)}/repositories/{encoded(rest, times=2)}/artifacts"


@dataclass(frozen=True, slots=True)
class _Artifact:
    """An artifact as listed. `pulled` is None without a pull; `is_clear`: it has the field, and names its children."""

    digest: Digest
    tags: tuple[Tag, ...]
    locked_tags: Mapping[Tag, str]
    media_type: str
    size: int | None
    pushed: datetime | None
    pulled: datetime | None
    is_clear: bool
    children: tuple[Digest, ...] | None


@dataclass(frozen=True, slots=True)
class _Page:
    artifacts: Mapping[Digest, _Artifact]
    total: int


async def _read_all(
    client: ApiClient, read: Callable[[int], Awaitable[_Page]]
) -> tuple[Mapping[Digest, _Artifact], bool]:
    """All artifacts, and whether there were others meanwhile: pages have numbers, so what is pushed or deleted while
    they are read moves an artifact from one page to another, where it is missed.

    The count shows that, unless a push and a deletion cancel out: then the first page or the last one has changed.
    """
    first = await read(1)
    last = -(-first.total // _PAGE)
    pages = [first, *await client.numbered(read, range(2, last + 1))]
    again = await client.numbered(read, (1, last)) if last > 1 else ()
    artifacts = {digest: one for page in pages for digest, one in page.artifacts.items()}
    is_same = all(page.total == len(artifacts) for page in (*pages, *again)) and all(
        before.artifacts.keys() == after.artifacts.keys()
        for before, after in zip((pages[0], pages[-1]), again, strict=False)
    )
    return artifacts, is_same


def _artifacts_in(page: Any) -> Mapping[Digest, _Artifact]:
    found = {}
    for document in fields.dicts(page, _NAME):
        digest = fields.digest(document.get("digest"))
        if digest is not None:
            found[digest] = _artifact(digest, document)
    return found


def _artifact(digest: Digest, document: Mapping[str, Any]) -> _Artifact:
    tagged = list(fields.dicts(document.get("tags"), _NAME))
    locked = fields.tags([tag.get("name") for tag in tagged if tag.get("immutable") is True])
    media_type = fields.text(document, "manifest_media_type")
    kind = kind_of_media_type(media_type)
    children = _children(document.get("references"), kind)
    # A tag that was pushed again is as young as that push.
    pushes = [fields.time(document.get("push_time")), *(fields.time(tag.get("push_time")) for tag in tagged)]
    return _Artifact(
        digest,
        fields.tags([tag.get("name") for tag in tagged]),
        dict.fromkeys(locked, "an immutability rule of the project protects it"),
        media_type,
        fields.number(document.get("size")),
        fields.latest(pushes),
        fields.time(document.get("pull_time")),
        isinstance(document.get("pull_time"), str) and (children is not None or kind is not Kind.INDEX),
        children,
    )


def _children(references: object, kind: Kind) -> tuple[Digest, ...] | None:
    """The children; None if they are not known."""
    listed = [fields.digest(one.get("child_digest")) for one in fields.dicts(references, _NAME)]
    if None in listed or (not listed and kind not in (Kind.IMAGE, Kind.SCHEMA1)):
        return None
    return tuple(dict.fromkeys(digest for digest in listed if digest is not None))


def _listing(artifacts: Mapping[Digest, _Artifact], *, is_complete: bool) -> Listing:
    all_known = all(
        one.is_clear and all(child in artifacts for child in one.children or ()) for one in artifacts.values()
    )
    any_pulled = any(one.pulled is not None for one in artifacts.values())
    doubts = (_SWITCHED_OFF,) if not any_pulled else (_SCANNERS,) if all_known else (_SCANNERS, _CHILD_MISSING)
    return Listing(
        tuple(_entry(one, artifacts) for one in artifacts.values()),
        is_complete=is_complete,
        has_untagged=True,
        has_pulls=any_pulled and all_known,
        doubts=doubts if artifacts else (),
    )


def _entry(artifact: _Artifact, artifacts: Mapping[Digest, _Artifact]) -> Entry:
    locked = next(iter(artifact.locked_tags), None)
    return Entry(
        artifact.digest,
        artifact.tags,
        artifact.media_type,
        artifact.size,
        artifact.pushed,
        _pulled(artifact, artifacts),
        "" if locked is None else f"its tag {locked} is immutable",
        artifact.locked_tags,
        artifact.children,
    )


def _pulled(artifact: _Artifact, artifacts: Mapping[Digest, _Artifact]) -> datetime | None:
    """The last pull of an artifact or of one below it: a pull of a child did not count for its index before 2.15.2."""
    seen, waiting, last = set(), [artifact], artifact.pulled
    while waiting:
        one = waiting.pop()
        if one.pulled is not None and (last is None or one.pulled > last):
            last = one.pulled
        for child in one.children or ():
            if child in artifacts and child not in seen:
                seen.add(child)
                waiting.append(artifacts[child])
    return last
