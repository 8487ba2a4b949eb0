"""What a session weighs: repositories, tags or layers, and where the bytes of a registry are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from dregutil.oci.names import Digest, Repository
from dregutil.select.usage_by import LABEL, check_usage_by
from dregutil.session.collecting import CollectingSession

if TYPE_CHECKING:
    from dregutil.inventory.contents.disk_usage import DiskUsage
    from dregutil.inventory.contents.usage_reading import ReferrersRead
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.plan.listed_waste import ListedWaste
    from dregutil.session.gathered import GatheredUsage
    from dregutil.session.results import Weighed

__all__ = ["UsageSession"]


class UsageSession(CollectingSession):
    """A session that weighs what is in the registry."""

    async def disk_usage(self, *repositories: str, by: str = "repo") -> Weighed:
        """The size of each line of `by` in bytes, unique and shared: "repo", "tag", "layer", "namespace" (the first
        part of the repository's name), or "label=KEY", a line for each value of a label of the images.

        Sizes are those that manifests state; with the option `storage`, the real ones. With repositories (names or
        globs), only these have rows. Raises NotFoundError if one does not exist, UsageError for another `by`.
        """
        check_usage_by(by)
        source = await self.usage_source()
        shown = self.named(repositories, source) if repositories else None
        return await self.weigh(source, shown, by, untagged=True)

    async def usage_source(self) -> CrawlResult:
        """The tags to measure: those of the storage, otherwise those of the cache file, or read now."""
        stored = self.stored()
        if stored is None:
            return await self.inventory()
        from dregutil.inventory.contents.from_storage import stored_inventory
        from dregutil.inventory.crawl_result import CrawlResult

        return CrawlResult(stored_inventory(stored))

    async def weigh(
        self, source: CrawlResult, shown: Sequence[Repository] | None, by: str, *, untagged: bool = False
    ) -> Weighed:
        """Measure the tags of `source`, with rows for all repositories, or only for those in `shown`; with `untagged`
        also what the registry's service lists without a tag, in all."""
        gathered = await self._gather(source, shown)
        if by == "namespace" or by.startswith(LABEL):
            gathered.usage.own(self._owner(by))
        found = gathered.measured(by if by in ("repo", "tag", "layer") else "owner")
        has_lists = untagged and gathered.referrers is not None
        return replace(found, untagged=await self._listed_waste(found, gathered.usage)) if has_lists else found

    async def _gather(self, source: CrawlResult, shown: Sequence[Repository] | None = None) -> GatheredUsage:
        """Read what is needed to measure the tags of `source`."""
        from dregutil.inventory.contents.disk_usage import DiskUsage
        from dregutil.inventory.contents.from_storage import read_from_storage
        from dregutil.session.gathered import GatheredUsage

        stored, database = self.stored(), self.database
        usage = DiskUsage(database, source.shown.keyed(), shown)
        missing = usage.missing()
        if stored is not None and self.storage is not None:
            read_from_storage(self.storage, stored, database, {digest for _, digest in missing})
        unreadable = dict(await self.read_contents(missing))
        referrers, listed = (None, None) if stored is not None else await self._read_referrers(source, usage)
        if referrers is not None:
            unreadable.update(referrers.unreadable)
        left_behind = tuple(usage.on_placeholders())
        usage.add_sizes(stored.blobs.items() if stored is not None else await self._foreign_sizes(usage))
        return GatheredUsage(usage, source, unreadable, left_behind, referrers, listed)

    async def _listed_waste(self, found: Weighed, usage: DiskUsage) -> ListedWaste | None:
        """What the service of the registry lists without a tag, and no tag needs; None where it lists none."""
        listings = {name: one for name, one in found.source.listings.items() if one.has_untagged}
        if not listings:
            return None
        from dregutil.inventory.contents.usage_reading import read_manifests
        from dregutil.session.listed_waste import ListedWasteReading

        reading = ListedWasteReading(listings, usage.reached())
        read = await read_manifests(self.connected, self.database, reading.places())
        return reading.weighed(found, self.database, read)

    async def _read_referrers(self, source: CrawlResult, usage: DiskUsage) -> tuple[ReferrersRead, float | None]:
        """Count what the referrers API lists, and when the oldest list was read that was not read now. With tags from
        the cache the lists may be those that were read before."""
        from dregutil.inventory.contents.referrer_lists import ReferrerLists
        from dregutil.inventory.contents.usage_reading import read_referrers

        lists = ReferrerLists(self.database, self.identity, forget=not source.is_cached)
        found = await read_referrers(self.connected, lists, self.database, usage, self.read_contents)
        if found.unasked is not None and not source.is_cached:
            raise found.unasked
        return found, lists.oldest

    def _owner(self, by: str) -> Callable[[Repository, Digest], str]:
        """Whose a tag is: the first part of its repository's name, or the value of a label of its image."""
        if by == "namespace":
            return lambda repository, _: repository.partition("/")[0] if "/" in repository else ""
        key, database = by.removeprefix(LABEL), self.database

        @cache
        def value(digest: Digest) -> str:
            details = database.details(digest)
            return "" if details is None else details.labels.get(key, "")

        return lambda _, digest: value(digest)

    async def _foreign_sizes(self, usage: DiskUsage) -> Iterable[tuple[Digest, int]]:
        foreign = usage.foreign_layers()
        if not foreign:
            return ()
        from dregutil.inventory.contents.usage_reading import read_foreign_sizes

        async with self.connected() as registry:
            return (await read_foreign_sizes(registry, foreign)).items()
