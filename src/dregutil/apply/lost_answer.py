"""What became of a DELETE whose answer was lost."""

from __future__ import annotations

import asyncio

from dregutil.oci.names import Digest, Repository
from dregutil.registry.reader import Registry

__all__ = ["went_after_all"]

_SETTLE = 1.0  # seconds between two readings that must be equal


async def went_after_all(registry: Registry, repository: Repository, digest: Digest) -> bool:
    """Whether a digest is gone. Only two equal readings are believed: the server may still be at work. Raises
    DregutilError."""
    before = await registry.resolve(repository, digest)
    while True:
        await asyncio.sleep(_SETTLE)
        after = await registry.resolve(repository, digest)
        if (before is None) == (after is None):
            return after is None
        before = after
