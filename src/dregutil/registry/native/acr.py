"""Azure Container Registry: lists manifests with tags, locks, sizes and times, and removes a single tag.

The API is at the registry's own address, below `/acr/v1`, with the registry's own tokens, whose actions are others than
those of the registry API. Manifests are deleted by the registry API. Pulls are not listed: `lastUpdateTime` is none.

`size` is in bytes as ACR counts them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

from dregutil import clock
from dregutil.errors import NoListingError, RegistryError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.service import MayReturn
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["Acr", "is_acr"]

_NAME = "ACR's API"
_PAGE = 1000
_SMALL_PAGE = 100  # where the server refuses more
_FRESH = 30.0  # seconds: what a deletion rests on was read just before
_MAY_READ = "metadata_read"
_MAY_WRITE = "pull,delete,metadata_read,metadata_write"
_LOCKED = "it is locked in ACR"
_UNLOCK = "unlock it: az acr repository update --name REGISTRY --image IMAGE --write-enabled true --delete-enabled true"


def is_acr(_: RegistryAddress, evidence: Evidence) -> bool:
    return name_server(evidence).name == "Azure Container Registry"


class Acr:
    """ACR's own API; implements `Service`."""

    name = _NAME
    page = _PAGE
    keeps_layers_apart = False
    reading_counts = False
    deletes_tags = True
    deletes_manifests = False
    restores = False
    tags_first = False
    deletes_at_once = 1

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client = access.here(_NAME)

    def writing(self) -> Self:
        found = copy.copy(self)
        found._client = self._client.writing()  # noqa: SLF001 - its own class
        return found

    async def listing(self, repository: Repository) -> Listing:
        """All manifests, with those that have no tag. Raises NoListingError, and what reading a registry raises."""
        manifests = await self._rows(repository, "manifests")
        tags = await self._rows(repository, "tags")
        return _listing(manifests, tags)

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Remove one tag; its manifest stays. Raises RegistryError if it is locked."""
        action = f"delete the tag {repository}:{tag}"
        scopes = self._access.scopes(repository, _MAY_WRITE)
        path = f"/acr/v1/{repository}/_tags/{tag}"
        answer = await self._client.change("DELETE", path, scopes=scopes, begun_by=clock.now() + _FRESH)
        if 200 <= answer.status < 300:
            return True
        if answer.status == 404:
            return False
        error = self._client.refused(answer, action)
        if answer.status == 405 and isinstance(error, RegistryError):
            message = f"{_NAME} could not {action}: it is locked (status 405)"
            raise RegistryError(message, status=405, errors=error.errors, advice=_UNLOCK)
        raise error

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Never called: see `deletes_manifests`."""
        raise NotImplementedError

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """Never called: see `restores`."""
        raise NotImplementedError

    async def _rows(self, repository: Repository, what: str) -> list[dict[str, Any]]:
        """The list of manifests or of tags."""
        try:
            return await self._paged(repository, what, _PAGE)
        except RegistryError as error:
            if error.status != 400:
                raise
            return await self._paged(repository, what, _SMALL_PAGE)

    async def _paged(self, repository: Repository, what: str, size: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        scopes = self._access.scopes(repository, _MAY_READ)

        def rows(page: Any) -> list[dict[str, Any]]:
            if not isinstance(page, dict):
                raise NoListingError(f"{_NAME}: its answer does not have the form that dregutil knows")
            return list(fields.dicts(page.get(what), _NAME))

        def names(page: Any) -> Iterable[object]:
            return [row.get("digest" if what == "manifests" else "name") for row in rows(page)]

        path = f"/acr/v1/{repository}/_{what}"
        async for page in self._client.linked(path, {"n": size}, scopes=scopes, names=names):
            found += rows(page)
        return found


def _listing(manifests: Iterable[Mapping[str, Any]], tags: Iterable[Mapping[str, Any]]) -> Listing:
    """Both lists as one. It is complete if they agree about the tags."""
    rows = {tag: row for row in tags for tag in fields.tags([row.get("name")])}
    entries: dict[Digest, Entry] = {}
    for manifest in manifests:
        if (digest := fields.digest(manifest.get("digest"))) is not None:
            entries[digest] = _entry(digest, manifest, rows)
    listed = {tag: entry.digest for entry in entries.values() for tag in entry.tags}
    agree = listed == {tag: fields.digest(row.get("digest")) for tag, row in rows.items()}
    return Listing(tuple(entries.values()), is_complete=agree, has_untagged=True)


def _entry(digest: Digest, manifest: Mapping[str, Any], rows: Mapping[Tag, Mapping[str, Any]]) -> Entry:
    tags = fields.tags(manifest.get("tags"))
    media_type = fields.text(manifest, "mediaType")
    return Entry(
        digest,
        tags,
        media_type,
        fields.number(manifest.get("imageSize")),
        _latest(manifest, *(rows[tag] for tag in tags if tag in rows)),
        locked=_LOCKED if _is_locked(manifest) else "",
        locked_tags={tag: _LOCKED for tag in tags if tag in rows and _is_locked(rows[tag])},
        children=_children(manifest.get("references"), media_type),
    )


def _latest(*rows: Mapping[str, Any]) -> datetime | None:
    """The last time of a push. A change of the attributes counts as well: ACR does not tell them apart."""
    return fields.latest(fields.time(row.get(name)) for row in rows for name in ("createdTime", "lastUpdateTime"))


def _is_locked(row: Mapping[str, Any]) -> bool:
    attributes = row.get("changeableAttributes")
    found = attributes if isinstance(attributes, dict) else {}
    return found.get("deleteEnabled") is False or found.get("writeEnabled") is False


def _children(references: object, media_type: str) -> tuple[Digest, ...] | None:
    """The children; None if they are not known."""
    listed = [fields.digest(one.get("digest")) for one in fields.dicts(references, _NAME)]
    if None in listed or (not listed and kind_of_media_type(media_type) not in (Kind.IMAGE, Kind.SCHEMA1)):
        return None
    return tuple(dict.fromkeys(digest for digest in listed if digest is not None))
