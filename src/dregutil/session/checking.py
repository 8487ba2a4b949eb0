"""What a session checks: what the registry is and allows, and what is broken in it. Nothing is changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dregutil.errors import AccessError, RegistryError, UsageError
from dregutil.session.knowing import KnowingSession

if TYPE_CHECKING:
    from dregutil.apply.examine import Examination
    from dregutil.inventory.health.registry import Checkup
    from dregutil.oci.names import Repository
    from dregutil.session.results import StorageCheckup

__all__ = ["CheckingSession"]


class CheckingSession(KnowingSession):
    """A session that checks the registry."""

    async def examine(self) -> Examination:
        """What the registry is, which login is used, and what it allows. Errors of the registry are in the result, and
        not raised."""
        from dregutil.apply.examine import examine

        async with self.connected() as registry:
            return await examine(registry, self.listed or ())

    async def check(self) -> Checkup:
        """What is broken in the registry: every tag is read, every child and subject is checked."""
        from dregutil.inventory.health.registry import check_registry

        async with self.connected() as registry:
            return await check_registry(registry, self.listed, on_progress=self._tell)

    async def check_storage(self) -> StorageCheckup:
        """What is broken in the registry's own storage, and what no tag needs. Raises UsageError if the session has no
        storage, and StorageError."""
        from dregutil.inventory.health.storage import examine_storage
        from dregutil.plan.waste import wasted
        from dregutil.session.results import StorageCheckup

        stored = self.stored()
        if stored is None:
            raise UsageError("no storage was named", advice="name it with storage=PATH")
        lacking = tuple(name for name in await self._catalog() if name not in stored.repositories)
        return StorageCheckup(tuple(examine_storage(stored)), wasted(stored, datetime.now(UTC)), lacking)

    async def _catalog(self) -> tuple[Repository, ...]:
        """The repositories of the catalog; none if it is closed."""
        try:
            async with self.connected() as registry:
                return tuple([name async for name in registry.repositories()])
        except (AccessError, RegistryError):
            return ()
