"""GitLab's container registry: lists a thousand tags in one request, with digests, sizes and times.

The API is at the registry's own address, below `/gitlab/v1/`, with the registry's own tokens. It needs the registry's
metadata database, which GitLab.com has, and a self-managed GitLab may have since 17.3. Tags and manifests are deleted
by the registry API. Manifests without a tag are not listed: GitLab collects them itself.

`size` is in bytes as GitLab counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dregutil.errors import NoListingError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["GitLab", "is_gitlab"]

_NAME = "GitLab's API"
_PAGE = 1000  # more is an error
_DATABASE = "gitlab-container-registry-database-enabled"
_TIMES = ("published_at", "updated_at", "created_at")


def is_gitlab(_: RegistryAddress, evidence: Evidence) -> bool:
    """Whether a registry is GitLab's, and does not say that it has no database."""
    return name_server(evidence).name == "GitLab" and evidence.headers.get(_DATABASE, "").lower() != "false"


class GitLab(ListOnly):
    """The registry's own API, not that of GitLab's web application; implements `Service`."""

    name = _NAME
    page = _PAGE

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._client = access.here(_NAME)

    async def listing(self, repository: Repository) -> Listing:
        """All tags. Raises NoListingError also without a database, and what reading a registry raises."""
        path = f"/gitlab/v1/repositories/{repository}/tags/list/"  # without the last slash it is redirected
        scopes = self._access.scopes(repository)
        found: list[dict[str, Any]] = []
        try:
            async for page in self._client.linked(path, {"n": _PAGE}, scopes=scopes, names=_names):
                found += fields.dicts(page, _NAME)
        except NoListingError as error:
            raise (await self._explained(error) if error.status == 404 else error) from error
        return _listing(found)

    async def _explained(self, error: NoListingError) -> NoListingError:
        """The same error, unless the registry has no such API at all, which this finds out."""
        try:
            await self._client.get("/gitlab/v1/")
        except NoListingError as missing:
            if missing.status == 404:
                return NoListingError(f"{_NAME}: the registry has no metadata database", is_everywhere=True)
        return error


def _names(page: Any) -> Iterable[object]:
    return [one.get("name") for one in fields.dicts(page, _NAME)]


def _listing(found: Iterable[Mapping[str, Any]]) -> Listing:
    """The tags by their digests. A tag without a digest, or whose name cannot be requested, makes it incomplete."""
    tags_of: dict[Digest, dict[Tag, Mapping[str, Any]]] = {}
    is_complete = True
    for row in found:
        digest, names = fields.digest(row.get("digest")), fields.tags([row.get("name")])
        if digest is None or not names:
            is_complete = False
        else:
            tags_of.setdefault(digest, {})[names[0]] = row
    entries = tuple(_entry(digest, rows) for digest, rows in tags_of.items())
    return Listing(entries, is_complete=is_complete)


def _entry(digest: Digest, rows: Mapping[Tag, Mapping[str, Any]]) -> Entry:
    one = next(iter(rows.values()))
    times = [fields.time(row.get(name)) for row in rows.values() for name in _TIMES]
    return Entry(
        digest,
        tuple(rows),
        fields.text(one, "media_type"),
        fields.number(one.get("size_bytes")),
        fields.latest(times),
    )
