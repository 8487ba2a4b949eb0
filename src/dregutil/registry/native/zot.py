"""zot: its search lists all tagged images of a repository in one request, with sizes and times.

Nothing in zot's answers to the registry API identifies it, so it is asked for its extensions. Tags and manifests are
deleted by the registry API. zot leaves out what it cannot describe, and does not say so: its list is compared with the
registry's own list of tags. Manifests without a tag are not listed.

`size` is in bytes as zot counts them: with layers, of an index those of all its images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dregutil.errors import NoListingError, RegistryError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.native.registry_tags import registry_tags

__all__ = ["Zot", "has_zot_search"]

_NAME = "zot's search"
_PAGE = 1_000_000  # it has no pages here
_DISCOVER = "/v2/_oci/ext/discover"
_SEARCH = "/v2/_zot/ext/search"
_BASE = "Tag Digest MediaType Size"
_TIMES = f"{_BASE} PushTimestamp LastPullTimestamp"  # since 2.1.2
_FIELDS = (f"{_TIMES} TaggedTimestamp", _TIMES, _BASE)  # since 2.1.15
_UNKNOWN_FIELD = "Cannot query field"


async def has_zot_search(access: Access) -> bool:
    """Whether a registry lists zot's search among its extensions. Raises what reading a registry raises."""
    try:
        found, _ = await access.here(_NAME).get(_DISCOVER)
    except (NoListingError, RegistryError):
        return False
    extensions = found.get("extensions") if isinstance(found, dict) else None
    return any(
        isinstance(one, dict) and one.get("name") == "_zot" and _SEARCH in (one.get("endpoints") or ())
        for one in (extensions if isinstance(extensions, list) else ())
    )


class Zot(ListOnly):
    """zot's search extension; implements `Service`."""

    name = _NAME
    page = _PAGE
    reading_counts = True

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._client = access.here(_NAME)

    async def listing(self, repository: Repository) -> Listing:
        """All tagged images. Raises NoListingError, and what reading a registry raises."""
        for number, names in enumerate(_FIELDS):
            images = await self._images(repository, names)
            if images is not None:
                return _listing(
                    images, await registry_tags(self._access, repository), has_pulls=number < len(_FIELDS) - 1
                )
        raise NoListingError(f"{_NAME} has other fields than dregutil knows", is_everywhere=True)

    async def _images(self, repository: Repository, names: str) -> list[dict[str, Any]] | None:
        """The images with the fields `names`; None if this version of zot does not have all of them."""
        asked = f'ImageList(repo:"{repository}",requestedPage:{{limit:0,offset:0,sortBy:ALPHABETIC_ASC}})'
        text = f"{{{asked}{{Page{{TotalCount}} Results{{{names}}}}}}}"
        try:
            found, _ = await self._client.get(_SEARCH, {"query": text}, scopes=self._access.scopes(repository))
        except RegistryError as error:
            if any(_UNKNOWN_FIELD in detail.message for detail in error.errors):
                return None
            raise NoListingError(error.message) from error
        said = "; ".join(fields.text(one, "message") for one in fields.dicts(_inside(found, "errors"), _NAME))
        if _UNKNOWN_FIELD in said:
            return None
        results = _inside(found, "data", "ImageList", "Results")
        if said or results is None:
            raise NoListingError(f"{_NAME} did not list {repository}: {said or 'no reason given'}")
        return list(fields.dicts(results, _NAME))


def _inside(document: Any, *names: str) -> Any:
    """What is in a document under `names`; None if it is not there."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _listing(images: Iterable[Mapping[str, Any]], tags: frozenset[Tag], *, has_pulls: bool) -> Listing:
    """The images by their digests. It is complete if they have the tags that the registry lists."""
    rows: dict[Digest, dict[Tag, Mapping[str, Any]]] = {}
    for image in images:
        if (digest := fields.digest(image.get("Digest"))) is not None:
            rows.setdefault(digest, {}).update((tag, image) for tag in fields.tags([image.get("Tag")]))
    entries = tuple(_entry(digest, of) for digest, of in rows.items())
    listed = frozenset(tag for of in rows.values() for tag in of)
    return Listing(entries, is_complete=listed == tags, has_pulls=has_pulls)


def _entry(digest: Digest, rows: Mapping[Tag, Mapping[str, Any]]) -> Entry:
    one = next(iter(rows.values()))
    pushes = [fields.time(row.get(name)) for row in rows.values() for name in ("PushTimestamp", "TaggedTimestamp")]
    pulls = [fields.time(row.get("LastPullTimestamp")) for row in rows.values()]
    media_type = fields.text(one, "MediaType")
    return Entry(
        digest,
        tuple(rows),
        media_type,
        fields.number(one.get("Size")),
        fields.latest(pushes),
        fields.latest(pulls),
        children=() if kind_of_media_type(media_type) is Kind.IMAGE else None,
    )
