"""JFrog Artifactory: one query (AQL) lists the tags of an image with digests, times and downloads.

Artifactory keeps a manifest as the file `manifest.json`, or `list.manifest.json` for an index, in a folder named like
its tag. That the file's SHA-256 is the digest is checked with one tag of each image. An image's repository within
Artifactory is not known: it is the first part of the image's name, or the first one of the host's; both are tried.

Nothing is deleted by this API: it would delete a folder, in which there may be another image, whose name begins with
this one's and goes on with the tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from dregutil.errors import NoListingError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.registry_tags import registry_digest
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["Artifactory", "is_artifactory"]

_NAME = "Artifactory's API"
_PAGE = 500_000  # rows; more are cut
_AT_ONCE = 3  # more queries are refused
_QUERY = "/artifactory/api/search/aql"
_INDEX, _IMAGE = "list.manifest.json", "manifest.json"
_INCLUDED = ("repo", "path", "name", "sha256", "created", "modified", "stat.downloaded", "stat.remote_downloaded")


def is_artifactory(_: RegistryAddress, evidence: Evidence) -> bool:
    return name_server(evidence).name == "JFrog Artifactory"


class Artifactory(ListOnly):
    """Artifactory's query language; implements `Service`."""

    name = _NAME
    page = _PAGE
    reading_counts = True

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._queries = asyncio.Semaphore(_AT_ONCE)

    async def listing(self, repository: Repository) -> Listing:
        """All tags. Raises NoListingError, and what reading a registry raises."""
        for key, image in _places(self._access.address, repository):
            found = await self._found(repository, key, image)
            files = _files_in(found, image)
            if files:
                await self._check_digest(repository, files)
                return _listing(files, is_complete=not _is_cut(found))
        raise NoListingError(f"{_NAME} has no image at {repository}")

    async def _found(self, repository: Repository, key: str, image: str) -> Any:
        """The answer to the query for the manifests of an image."""
        wanted = {"repo": key, "path": {"$match": f"{image}/*"}, "name": {"$match": f"*{_IMAGE}"}}
        included = ",".join(f'"{name}"' for name in _INCLUDED)
        query = f"items.find({msgspec.json.encode(wanted).decode()}).include({included})"
        client = self._access.here(_NAME, self._login(repository))
        async with self._queries:
            found, _ = await client.query(_QUERY, query.encode(), headers={"Content-Type": "text/plain"})
        return found

    def _login(self, repository: Repository) -> ApiLogin:
        credentials = self._access.credentials(repository)
        if credentials is not None and credentials.kind == "bearer":
            return ApiLogin.bearer(credentials.secret)
        return self._access.basic(repository)

    async def _check_digest(self, repository: Repository, files: Mapping[Tag, _File]) -> None:
        """Raise NoListingError unless the registry names the same digest for a tag."""
        tag, file = next(iter(files.items()))
        if await registry_digest(self._access, repository, tag) != file.digest:
            raise NoListingError(f"{_NAME} and the registry name different digests for {repository}:{tag}")


@dataclass(frozen=True, slots=True)
class _File:
    digest: Digest
    is_index: bool
    pushed: datetime | None
    pulled: datetime | None


def _places(address: RegistryAddress, repository: Repository) -> Iterator[tuple[str, str]]:
    """Where an image may be: a repository within Artifactory, and the image's name there."""
    key, _, image = repository.partition("/")
    if image:
        yield key, image
    labels = address.host.split(".")
    if len(labels) > 2:
        yield labels[0], repository


def _files_in(found: Any, image: str) -> Mapping[Tag, _File]:
    """The manifest of each tag. Other images, whose names begin with this one's, and children are left out."""
    files: dict[Tag, _File] = {}
    for row in fields.dicts(found.get("results") if isinstance(found, dict) else found, _NAME):
        folder, _, last = fields.text(row, "path").rpartition("/")
        name, digest = fields.text(row, "name"), fields.digest(f"sha256:{fields.text(row, 'sha256')}")
        if folder != image or name not in (_INDEX, _IMAGE) or digest is None:
            continue
        for tag in fields.tags([last]):
            if tag not in files or name == _INDEX:
                files[tag] = _File(digest, name == _INDEX, _latest(row, "created", "modified"), _downloaded(row))
    return files


def _downloaded(row: Mapping[str, Any]) -> datetime | None:
    """The last download, also through another Artifactory; None if there was none."""
    stats = fields.dicts(row.get("stats"), _NAME)
    return fields.latest(_latest(one, "downloaded", "remote_downloaded") for one in stats)


def _latest(row: Mapping[str, Any], *names: str) -> datetime | None:
    return fields.latest(fields.time(row.get(name)) for name in names)


def _is_cut(found: Any) -> bool:
    """Whether the answer says that it does not have all rows."""
    size = found.get("range") if isinstance(found, dict) else None
    return not isinstance(size, dict) or bool(size.get("notification"))


def _listing(files: Mapping[Tag, _File], *, is_complete: bool) -> Listing:
    of: dict[Digest, dict[Tag, _File]] = {}
    for tag, file in files.items():
        of.setdefault(file.digest, {})[tag] = file
    entries = tuple(
        Entry(
            digest,
            tuple(tags),
            pushed=fields.latest(file.pushed for file in tags.values()),
            pulled=fields.latest(file.pulled for file in tags.values()),
            children=None if any(file.is_index for file in tags.values()) else (),
        )
        for digest, tags in of.items()
    )
    return Listing(entries, is_complete=is_complete, has_pulls=True)
