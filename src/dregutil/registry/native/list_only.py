"""What the services have in common that only list: tags and manifests are deleted through the distribution API."""

from __future__ import annotations

from typing import Self

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native.access import Access
from dregutil.registry.native.service import MayReturn

__all__ = ["ListOnly"]


class ListOnly:
    """All of `Service` but its `name`, its `page` and its `listing`."""

    reading_counts = False
    keeps_layers_apart = False
    deletes_tags = False
    deletes_manifests = False
    restores = False
    tags_first = False
    deletes_at_once = 1

    def __init__(self, access: Access) -> None:
        self._access = access

    def writing(self) -> Self:
        return self

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Never called: see `deletes_tags`."""
        raise NotImplementedError

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Never called: see `deletes_manifests`."""
        raise NotImplementedError

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """Never called: see `restores`."""
        raise NotImplementedError
