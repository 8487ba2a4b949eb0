"""Quay's own API at the registry's address: it lists tags with digests, sizes and push times, a hundred at a time.

Described in quay/quay, endpoints/api/tag.py. It takes OAuth tokens only, no password and no robot (endpoints/
decorators.py), so it is asked without a login, which works for public repositories; others are read through the
distribution API. Tags and manifests are deleted by that, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dregutil.errors import NoListingError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.client import encoded
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.registry_tags import registry_tags
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["Quay", "is_quay"]

_NAME = "Quay's API"
_PAGE = 100
_FIRST, _MOST = 4, 16  # pages that are requested at once: how many there are is not said
_MOST_PAGES = 100_000


def is_quay(_: RegistryAddress, evidence: Evidence) -> bool:
    return name_server(evidence).name == "Quay"


class Quay(ListOnly):
    """Lists the tags of public repositories; implements `Service`."""

    name = _NAME
    page = _PAGE

    async def listing(self, repository: Repository) -> Listing:
        """See `Service`. What is deleted while the pages are read hides a tag, so they are compared with the registry's
        own list of tags."""
        client = self._access.here(self.name, ApiLogin())
        namespace, slash, name = repository.partition("/")
        if not slash:
            raise NoListingError(f"{self.name} has no repository without a namespace: {repository}")
        path = f"/api/v1/repository/{encoded(namespace)}/{encoded(name)}/tag/"

        async def ask(page: int) -> Any:
            query: dict[str, str | int] = {"limit": _PAGE, "page": page, "onlyActiveTags": "true"}
            document, _ = await client.get(path, query)
            if not isinstance(document, dict) or not isinstance(document.get("has_additional"), bool):
                raise NoListingError(f"{self.name}: its answer does not have the form that dregutil knows")
            return document

        pages = [await ask(1)]
        at_once = _FIRST
        while pages[-1]["has_additional"]:
            if len(pages) > _MOST_PAGES:
                raise NoListingError(f"{self.name}: its list does not end")
            pages += await client.numbered(ask, range(len(pages) + 1, len(pages) + 1 + at_once))
            at_once = min(2 * at_once, _MOST)
        found = _listing(row for page in pages for row in fields.dicts(page.get("tags"), self.name))
        agrees = found.tags.keys() == await registry_tags(self._access, repository)
        return replace(found, is_complete=found.is_complete and agrees)


def _listing(rows: Iterable[Mapping[str, Any]]) -> Listing:
    """The tags by their digests. Of two rows about a tag the first is the newer one."""
    tags_of: dict[Digest, dict[Tag, Mapping[str, Any]]] = defaultdict(dict)
    names: set[Tag] = set()
    is_complete = True
    for row in rows:
        digest = fields.digest(row.get("manifest_digest"))
        for tag in fields.tags([row.get("name")]):
            if digest is None:
                is_complete = False
            elif tag not in names:
                names.add(tag)
                tags_of[digest][tag] = row
    return Listing(tuple(_entry(digest, found) for digest, found in tags_of.items()), is_complete)


def _entry(digest: Digest, rows: Mapping[Tag, Mapping[str, Any]]) -> Entry:
    first = next(iter(rows.values()))
    times = [moment for row in rows.values() if (moment := fields.from_seconds(row.get("start_ts"))) is not None]
    return Entry(
        digest,
        tuple(rows),
        size=fields.number(first.get("size")) or None,  # 0 or null for an index
        pushed=max(times, default=None),
        locked_tags={tag: "it is immutable" for tag, row in rows.items() if row.get("immutable") is True},
        children=() if first.get("is_manifest_list") is False else None,
    )
