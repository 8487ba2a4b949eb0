"""Sonatype Nexus 3: its search lists the tags of an image, fifty at a time, with digests, push times and downloads.

The API is at the address of Nexus' own interface, and needs the name of a repository of Nexus; the registry's answers
show neither, so the user names both (`oci/api_address`). Sources: sonatype/nexus-public, SearchResource.java,
AssetXO.java and SqlTableSearchService.java. The code of the format docker is not public.

A component is a tag, its asset the manifest. Manifests without a tag are not listed (nexus-public#550). A tag whose
manifest was deleted by its digest may stay (#925): what is listed may name nothing, see `Listing.may_dangle`.

This API deletes nothing. What else a component's deletion removes is not documented, and if the user names the wrong
Nexus repository, that repository may hold the same image.

`Entry.pushed` is the later one of `blobCreated` and `lastModified`: either may move with a push that the other does not
show. There is no `size`: `fileSize` is that of the manifest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dregutil.errors import NoListingError, UnlistableError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.client import ApiClient
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.native.registry_tags import registry_digest, registry_tags
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["SETTING", "Nexus", "is_nexus"]

SETTING = "--api URL and --api-repository NAME"
_NAME = "Nexus' search"
_PAGE = 50  # SearchResource.pageSize
_SEARCH = "/service/rest/v1/search"
_MOST_IN_ORDER = 10_000
_CHECKED = 3  # tags that are compared with the registry, until it has one of them
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COARSE = "Nexus notes a download once in 12 hours, and counts an update of the tag as one"
_BY_DIGEST = "a pull by digest does not count for the tag"
_NONE = "Nexus names no download of any tag: older releases do not tell them"


def is_nexus(evidence: Evidence) -> bool:
    """Whether a registry is of Nexus, as far as it shows: only for advice, see `oci/api_address`."""
    return name_server(evidence).name == "Sonatype Nexus"


class Nexus(ListOnly):
    """The search of Nexus, at the address that the user named; implements `Service`."""

    name = _NAME
    page = _PAGE
    reading_counts = True

    async def listing(self, repository: Repository) -> Listing:
        """All tags. Raises NoListingError, and what reading a registry raises.

        The search has no count, an index that may lag behind, and pages that may shift while they are read: it is
        complete if it has the tags of the registry's own list.
        """
        named = self._access.named
        if named is None:
            raise NoListingError(f"{_NAME} has no address: give {SETTING}", is_everywhere=True)
        tags = await registry_tags(self._access, repository)
        search = _Search(self._access.elsewhere(_NAME, self._access.basic(repository)), named.repository)
        for image in _images(repository, named.repository):
            found = [tag for row in await search.rows(image, len(tags)) for tag in _tags_in(row, image)]
            if found:
                await self._check_digest(repository, found)
                return _listing(found, tags)
        raise NoListingError(f"{_NAME} finds no {repository} in its repository {named.repository}")

    async def _check_digest(self, repository: Repository, found: Sequence[_Tag]) -> None:
        """Raise NoListingError unless the registry names the same digest for a tag: the user may have named another
        repository of Nexus. A HEAD may count as a download, so the tags that were downloaded last are asked for."""
        for one in sorted(found, key=lambda tag: tag.pulled or _EPOCH, reverse=True)[:_CHECKED]:
            digest = await registry_digest(self._access, repository, one.name)
            if digest == one.digest:
                return
            if digest is not None:
                raise NoListingError(f"{_NAME} and the registry name different digests for {repository}:{one.name}")
        raise NoListingError(f"{_NAME} lists tags of {repository} that the registry does not have")


@dataclass(frozen=True, slots=True)
class _Tag:
    """A component: a tag, with what its asset says of the manifest."""

    name: Tag
    digest: Digest
    media_type: str
    pushed: datetime | None
    pulled: datetime | None


@dataclass(frozen=True, slots=True)
class _Search:
    """The components of an image in one repository of Nexus."""

    client: ApiClient
    repository: str

    async def rows(self, image: str, expected: int) -> Sequence[dict[str, Any]]:
        """All components; about `expected` are there. Raises NoListingError, and UnlistableError for an endless list.

        The newer search continues after a number of rows, so its pages are requested at once. The older one has other
        tokens, and fails after 10,000 rows (nexus-public#357).
        """
        rows, token = await self._page(image)
        size = len(rows)
        if token == str(size):
            numbers = range(1, -(-expected // size))
            pages = await self.client.numbered(lambda number: self._page(image, str(number * size)), numbers)
            for number, (more, following) in zip(numbers, pages, strict=True):
                if token is None:
                    break
                if token != str(number * size):
                    raise NoListingError(f"{_NAME}: its pages do not follow each other")
                rows, token = [*rows, *more], following
        elif token is not None and expected > _MOST_IN_ORDER:
            raise NoListingError(f"{_NAME}: this release of it lists no more than {_MOST_IN_ORDER:,} tags")
        seen: set[str] = set()
        while token is not None and rows:
            if token in seen:
                raise UnlistableError(f"could not read {_NAME}: its list does not end")
            seen.add(token)
            more, token = await self._page(image, token)
            if not more:  # it may name a next page all the same (nexus-public#550)
                break
            rows = [*rows, *more]
        return rows

    async def _page(self, image: str, token: str = "") -> tuple[list[dict[str, Any]], str | None]:
        """The rows of a page, and the token of the next one."""
        query = {"repository": self.repository, "format": "docker", "name": image, "sort": "version"}
        document, _ = await self.client.get(_SEARCH, {**query, **({"continuationToken": token} if token else {})})
        if not isinstance(document, dict) or "items" not in document:
            raise NoListingError(f"{_NAME}: its answer does not have the form that dregutil knows")
        return list(fields.dicts(document["items"], _NAME)), fields.text(document, "continuationToken") or None


def _images(repository: Repository, named: str) -> Iterator[str]:
    """How Nexus may call a repository of the registry: by its name, which may begin with that of Nexus' repository."""
    yield repository
    first, _, rest = repository.partition("/")
    if first == named and rest:
        yield rest


def _tags_in(row: Mapping[str, Any], image: str) -> Iterator[_Tag]:
    """The tag that a component is, if it is one of `image`: the search may find others by a part of their name."""
    if fields.text(row, "format") != "docker" or fields.text(row, "name") != image:
        return
    for tag in fields.tags([row.get("version")]):
        for asset in fields.dicts(row.get("assets"), _NAME):
            checksum = asset.get("checksum")
            digest = fields.digest(f"sha256:{fields.text(checksum, 'sha256')}")
            if digest is not None and fields.text(asset, "path").endswith(f"/{image}/manifests/{tag}"):
                pushed = fields.latest(fields.time(asset.get(name)) for name in ("blobCreated", "lastModified"))
                pulled = fields.time(asset.get("lastDownloaded"))
                yield _Tag(tag, digest, fields.text(asset, "contentType"), pushed, pulled)


def _listing(found: Sequence[_Tag], tags: frozenset[Tag]) -> Listing:
    """The tags by their digests. It is complete if they are those of the registry."""
    of: dict[Digest, dict[Tag, _Tag]] = defaultdict(dict)
    for one in found:
        of[one.digest][one.name] = one
    entries = tuple(_entry(digest, list(rows.values())) for digest, rows in of.items())
    has_pulls = any(one.pulled is not None for one in found)
    return Listing(
        entries,
        is_complete={one.name for one in found} == tags,
        has_pulls=has_pulls,
        doubts=(_COARSE, _BY_DIGEST) if has_pulls else (_NONE,),
        may_dangle=True,
    )


def _entry(digest: Digest, rows: Sequence[_Tag]) -> Entry:
    media_type = rows[0].media_type
    return Entry(
        digest,
        tuple(row.name for row in rows),
        media_type,
        pushed=fields.latest(row.pushed for row in rows),
        pulled=fields.latest(row.pulled for row in rows),
        children=() if kind_of_media_type(media_type) is Kind.IMAGE else None,
    )
