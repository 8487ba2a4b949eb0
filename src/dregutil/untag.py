"""Removing one tag and nothing else.

By tag where the server can. Where it answers that it cannot (distribution 2.8, Harbor), the tag is moved onto a
manifest of our own that nothing else has, and that manifest is deleted: the digest that the tag stood for is never
touched. Halfway, the tag is put back.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence

from dregutil.errors import DregutilError, OutcomeUnknownError
from dregutil.manifest import OCI_MANIFEST, Manifest
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.client import WritableRegistry

__all__ = ["Untagger", "placeholder"]

_PLACEHOLDER_CONFIG = "application/vnd.dregutil.placeholder.v1+json"


def placeholder(config: bytes) -> bytes:
    """A manifest of our own, without layers. `config` is unique, and so is the manifest's digest."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": _PLACEHOLDER_CONFIG, "digest": Digest.of(config), "size": len(config)},
        "layers": [],
    }
    return json.dumps(body, separators=(",", ":")).encode()


class Untagger:
    """Untags on one registry, and remembers what it learnt about it: whether deletion by tag works there."""

    def __init__(self, registry: WritableRegistry) -> None:
        self._registry = registry
        self._by_tag = True

    async def untag(self, repository: Repository, tag: Tag, manifest: Manifest, others: Sequence[Tag]) -> str:
        """Remove `tag` from `manifest`; `others` are the tags that stay on it. Returns why not, or an empty string.

        Raises DregutilError where the registry did not do as asked; the tag, or what it took along, was put back.
        """
        found = await self._registry.resolve(repository, tag)
        if found is None:
            return ""
        if found.digest != manifest.digest:
            return f"'{tag}' has moved to {found.digest.short}"
        if self._by_tag and await self._delete_by_tag(repository, tag, manifest, others):
            return ""
        await self._delete_by_placeholder(repository, tag, manifest)
        return ""

    async def _delete_by_tag(self, repository: Repository, tag: Tag, manifest: Manifest, others: Sequence[Tag]) -> bool:
        try:
            if await self._registry.delete_tag(repository, tag) is None:
                self._by_tag = False
                return False
        except OutcomeUnknownError:
            if await self._registry.resolve(repository, tag) is not None:
                raise
        lost = [other for other in others if await self._registry.resolve(repository, other) is None]
        if lost or await self._registry.resolve(repository, manifest.digest) is None:
            references: tuple[Digest | Tag, ...] = (manifest.digest, *lost)
            for reference in references:
                await self._registry.put_manifest(repository, reference, manifest.raw, manifest.media_type)
            self._by_tag = False
            raise DregutilError(
                f"deleting the tag '{tag}' took its whole manifest; that and its other tags were put back",
                advice="this registry has no safe way to remove one tag of several",
            )
        if await self._registry.resolve(repository, tag) is not None:
            raise DregutilError(f"the registry accepted the deletion of the tag '{tag}', and it is still there")
        return True

    async def _delete_by_placeholder(self, repository: Repository, tag: Tag, manifest: Manifest) -> None:
        config = json.dumps({"placeholder": secrets.token_hex(16)}).encode()
        raw = placeholder(config)
        digest = Digest.of(raw)
        await self._registry.put_blob(repository, config)
        try:
            await self._registry.put_manifest(repository, tag, raw, OCI_MANIFEST)
            await self._registry.delete_manifest(repository, digest)
        except BaseException:
            await asyncio.shield(self._put_back(repository, tag, manifest, digest))
            raise
        if await self._registry.resolve(repository, tag) is not None:
            await self._put_back(repository, tag, manifest, digest)
            raise DregutilError(f"the tag '{tag}' could not be removed alone; it is as it was")

    async def _put_back(self, repository: Repository, tag: Tag, manifest: Manifest, ours: Digest) -> None:
        """Point the tag at its own manifest again, unless somebody has moved it meanwhile."""
        found = await self._registry.resolve(repository, tag)
        if found is None or found.digest == ours:
            await self._registry.put_manifest(repository, tag, manifest.raw, manifest.media_type)
