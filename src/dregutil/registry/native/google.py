"""Google Artifact Registry and Container Registry: their list of tags describes every manifest as well.

The answer to `GET /v2/NAME/tags/list` has a key `manifest`, by digest: `tag`, `mediaType`, `imageSizeBytes`,
`timeUploadedMs` (google/go-containerregistry, pkg/v1/google/list.go). Numbers are texts. It is not paged by Link, so
10,000 entries are requested at once (go-containerregistry #1643, #1645): a list of exactly so many may be cut. `child`
names the repositories below, which no decision needs.

`size` is that of an image with its layers; for an index it is not known what the number counts, so there is none.
"""

from __future__ import annotations

import re
from typing import Any

from dregutil.errors import NoListingError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.list_only import ListOnly
from dregutil.registry.server_kind import Evidence
from dregutil.registry.uncached import NO_CACHE

__all__ = ["LONGEST_LIST", "Google", "is_google"]

_NAME = "Google's list of manifests"
LONGEST_LIST = 10_000
_HOST = re.compile(r"(?:[a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev")


def is_google(address: RegistryAddress, evidence: Evidence | None = None) -> bool:  # noqa: ARG001 - the interface
    """Whether a registry is Google's, by its host: others refuse a page of 10,000."""
    return _HOST.fullmatch(address.host) is not None


class Google(ListOnly):
    """Lists manifests with their tags; implements `Service`. It deletes through the distribution API only."""

    name = _NAME
    page = LONGEST_LIST

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._client = access.here(_NAME)

    async def listing(self, repository: Repository) -> Listing:
        """All manifests, with those that have no tag. Raises NoListingError, and what reading a registry raises."""
        document, _ = await self._client.get(
            f"/v2/{repository}/tags/list",
            {"n": LONGEST_LIST},
            scopes=self._access.scopes(repository),
            headers=NO_CACHE,
        )
        manifests = document.get("manifest") if isinstance(document, dict) else None
        if not isinstance(manifests, dict):
            raise NoListingError(f"{_NAME}: there is none in the list of tags of {repository}")
        entries = tuple(_entry(digest, about) for digest, about in manifests.items())
        names = fields.tags(document.get("tags"))
        is_cut = max(len(manifests), len(names)) >= LONGEST_LIST
        listing = Listing(entries, is_complete=not is_cut, has_untagged=True)
        if not is_cut and listing.tags.keys() != set(names):
            raise NoListingError(f"{_NAME}: its manifests have other tags than those that it lists")
        return listing


def _entry(named: str, about: Any) -> Entry:
    digest = fields.digest(named)
    if digest is None or not isinstance(about, dict):
        raise NoListingError(f"{_NAME}: its answer does not have the form that dregutil knows")
    media_type = fields.text(about, "mediaType")
    size = None if kind_of_media_type(media_type) is Kind.INDEX else fields.number(about.get("imageSizeBytes"))
    uploaded = fields.number(about.get("timeUploadedMs"))
    return Entry(
        digest,
        fields.tags(about.get("tag")),
        media_type,
        size or None,
        pushed=None if uploaded is None else fields.from_seconds(uploaded / 1000),
    )
