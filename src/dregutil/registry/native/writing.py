"""What a registry's service deletes and brings back where the distribution API does not: tags by name, manifests.

Each answer of the service is checked with the registry: what it does not find must be gone there, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from dregutil.errors import NoListingError, OutcomeUnknownError, RegistryError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native.service import Service

__all__ = ["ServiceWrites"]

Names = Callable[[Repository, Tag | Digest], Awaitable[Digest | None]]
"""What a tag or digest names in the registry now; None if two requests do not find it. Raises DregutilError."""


class ServiceWrites:
    """`names` asks the registry. `repositories`: where the service deletes manifests, as the registry does not."""

    def __init__(self, service: Service, names: Names) -> None:
        self.service = service.writing()
        self.repositories: set[Repository] = set()
        self._names = names

    async def check(self, repository: Repository) -> None:
        """Whether the service knows a repository whose manifests it is to delete. Raises NoListingError, and others."""
        await self.service.listing(repository)
        self.repositories.add(repository)

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """True if it was accepted, False if there is no such tag. Raises RegistryError if only the registry has it."""
        if await self.service.delete_tag(repository, tag):
            return True
        if await self._names(repository, tag) is None:
            return False
        raise RegistryError(
            f"could not delete the tag {repository}:{tag}: {self.service.name} does not find it, the registry does",
            status=404,
        )

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """True if it was accepted, False if it is not there. Raises RegistryError if only the registry has it."""
        if await self.service.delete_manifest(repository, digest):
            self.repositories.add(repository)
            return True
        if await self._names(repository, digest) is None:
            return False
        raise RegistryError(
            f"could not delete {digest.short} of {repository}: {self.service.name} does not list it, the registry does",
            status=404,
        )

    async def restore(self, repository: Repository, digest: Digest, tags: Collection[Tag] | None) -> bool:
        """Bring back a manifest with its tags; False if the service does not.

        It does not if one of the tags names something else by now, or is not one of `tags` (None: any may return).
        """

        async def may_return(returning: tuple[Tag, ...]) -> bool:
            if tags is not None and not set(returning) <= set(tags):
                return False
            return all([await self._names(repository, tag) in (None, digest) for tag in returning])

        try:
            return await self.service.restore(repository, digest, may_return)
        except NoListingError:
            return False
        except OutcomeUnknownError:
            return await self._names(repository, digest) is not None
