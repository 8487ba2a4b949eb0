"""What the registry itself says of its tags: a service's list is compared with it that may leave something out."""

from __future__ import annotations

from typing import Any

from dregutil.oci.manifest import ACCEPT
from dregutil.oci.names import Repository, Tag
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access

__all__ = ["registry_digest", "registry_tags"]

_PAGE = 1000


async def registry_tags(access: Access, repository: Repository) -> frozenset[Tag]:
    """All tags that the distribution API lists. Raises NoListingError, and what reading a registry raises."""
    found: list[Tag] = []

    def names(page: Any) -> list[object]:
        listed = page.get("tags") if isinstance(page, dict) else None
        return listed if isinstance(listed, list) else []

    client = access.here("the registry's list of tags")
    path = f"/v2/{repository}/tags/list"
    async for page in client.linked(path, {"n": _PAGE}, scopes=access.scopes(repository), names=names):
        found += fields.tags(names(page))
    return frozenset(found)


async def registry_digest(access: Access, repository: Repository, tag: Tag) -> str | None:
    """The digest that the registry names for a tag, empty if it names none; None if it does not have the tag. Raises
    what reading a registry raises."""
    access.sent.number += 1
    url = access.transport.url(f"/v2/{repository}/manifests/{tag}")
    answer = await access.transport.send("HEAD", url, access.scopes(repository), headers={"Accept": ACCEPT})
    if answer.status == 404:
        return None
    return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""
