"""A placeholder in a registry: made, put under tags, deleted.

Only here are manifests put that were never there before. Every other PUT is in `put_back`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from dregutil.errors import OutcomeUnknownError
from dregutil.oci.manifest import OCI_MANIFEST
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import placeholder
from dregutil.registry.absence import find_twice
from dregutil.registry.writer import WritableRegistry

__all__ = ["Placeholder", "remove_dangling"]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A manifest that no other run and no other repository has: deleting it takes no tag but those that were moved onto
    it, or copied from one of these."""

    digest: Digest
    raw: bytes
    config: bytes

    @classmethod
    def new(cls, *, of_nothing: bool = False) -> Placeholder:
        """A new one. `of_nothing`: it is for a tag that names nothing."""
        config = json.dumps({"placeholder": secrets.token_hex(16)}).encode()
        raw = placeholder(config, of_nothing=of_nothing)
        return cls(Digest.of(raw), raw, config)

    async def upload_config(self, registry: WritableRegistry, repository: Repository) -> None:
        """Upload the config, which must be there before the first tag is moved. Raises DregutilError."""
        await registry.put_blob(repository, self.config)

    async def take(self, registry: WritableRegistry, repository: Repository, tag: Tag) -> None:
        """Move `tag` onto the placeholder. Raises DregutilError.

        What the tag stood for must be in the record already, and the tag must have been looked at just before.
        """
        await registry.put_manifest(repository, tag, self.raw, OCI_MANIFEST)

    async def delete(self, registry: WritableRegistry, repository: Repository) -> None:
        """Delete the placeholder, and with it every tag that is on it. Raises DregutilError."""
        try:
            await registry.delete_manifest(repository, self.digest)
        except OutcomeUnknownError:
            if await registry.resolve(repository, self.digest) is not None:
                raise


async def remove_dangling(registry: WritableRegistry, repository: Repository, tag: Tag) -> None:
    """Remove a tag that is listed and names nothing, by way of a placeholder: distribution 2.8 has no other way.

    A tag that one of two requests finds is left alone. Raises DregutilError.
    """
    if await find_twice(registry, repository, tag) is None:
        temporary = Placeholder.new(of_nothing=True)
        await temporary.upload_config(registry, repository)
        await temporary.take(registry, repository, tag)
        await registry.delete_manifest(repository, temporary.digest)
