"""How a session reads the tags of a registry: from the cache file, or live. Nothing is changed but that file and the
records of when tags came."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from dregutil.errors import (
    AccessError,
    CacheError,
    DregutilError,
    JournalError,
    LoginError,
    RegistryError,
    StoreError,
)
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Repository
from dregutil.session.checking import CheckingSession

if TYPE_CHECKING:
    from pathlib import Path

    from dregutil.inventory.refreshed import Refreshed, RefreshedFile
    from dregutil.session.notified import NotifiedChanges

__all__ = ["CrawlingSession"]

_MOST_NEAR = 10_000
_MOST_DOUBTED = 3


class CrawlingSession(CheckingSession):
    """A session that reads tags."""

    async def inventory(self, *, only: Sequence[Repository] | None = None, for_policy: bool = False) -> CrawlResult:
        """The registry's tags: from the cache file if there is one, otherwise read now.

        `only`: the repositories that the answer depends on; without a cache only these are read, and nothing is saved.
        `for_policy`: a policy is applied to what is read now, see `crawl_whole`. Raises CacheError, and the errors of
        reading.
        """
        cached = self.cached()
        if cached is not None:
            return cached
        asked = None if self._options.get("refresh") else only
        found = self._learn(await self._crawl(asked, for_policy=for_policy))
        if found.complete:
            self._save(found)
        return found

    def in_cache(self) -> Inventory | None:
        """The tags of the cache file, even with the option `refresh`; None if there is no cache file or it cannot be
        used."""
        try:
            return None if self.cache is None else self.cache.read()
        except CacheError:
            return None

    def cached(self) -> CrawlResult | None:
        """The registry's tags from the cache file; None if there is none, or with the option `refresh`. Raises
        CacheError."""
        if self.cache is None or self._options.get("refresh"):
            return None
        known = self.cache.read()
        if known is None:
            return None
        return self._learn(CrawlResult(known, age=self.cache.age(time.time())))

    async def crawl_whole(
        self, *, known: Inventory | None = None, believed: Inventory | None = None, for_policy: bool = False
    ) -> CrawlResult:
        """Read all tags of the registry, also those that its catalog or lists omit; nothing is saved or noted.

        Tags in `known` are only listed, and so are repositories whose tags in `believed` are those of their list.
        `for_policy`: a policy counts them, so a service's list that may have tags
        without a manifest is not used.
        """
        from dregutil.inventory.crawl_whole import with_unlisted_repositories, with_unlisted_tags

        found = await self._crawl(None, known=known, believed=believed, for_policy=for_policy)
        records = self.records
        async with self.connected() as registry:
            if self.listed is None:
                found = await with_unlisted_repositories(
                    registry, found, records.history, on_progress=self._tell, for_policy=for_policy
                )
            try:
                taken = records.taken()
            except JournalError:
                return self._learn(found)
            found = await with_unlisted_tags(registry, found, records.history, taken)
        return self._learn(found)

    def _recall(self) -> None:
        """If this session has read no tags, load those of the cache file, to compare them with the registry's lists.
        Raises CacheError."""
        if not self._tags and self.cache is not None:
            inventory = self.cache.read()
            if inventory is not None:
                self._tags.update(inventory.as_mapping())

    def _learn(self, found: CrawlResult) -> CrawlResult:
        """Remember the tags that were read, and call `on_read`."""
        self._tags.update(found.inventory.as_mapping())
        self._is_whole = found.complete or found.is_cached
        return self._tell_read(found)

    def _tell_read(self, found: CrawlResult) -> CrawlResult:
        for why in [*found.doubted.values()][:_MOST_DOUBTED]:
            self._warn(f"{why}; the registry was read tag by tag")
        on_read = self._options.get("on_read")
        if on_read is not None:
            on_read(found)
        elif found.failed:
            name, error = next(iter(found.failed.items()))
            what = name if len(found.failed) == 1 else f"{name} and {len(found.failed) - 1:,} more repositories"
            self._warn(f"{what} could not be read: {error.message}", error.advice)
        return found

    async def _crawl(
        self,
        only: Sequence[Repository] | None,
        *,
        known: Inventory | None = None,
        believed: Inventory | None = None,
        for_policy: bool = False,
    ) -> CrawlResult:
        """Crawl the registry, or some repositories; `known` and `believed` as in `crawl_whole`. Without a catalog, the
        repositories are those of the option, or otherwise those of the storage."""
        from dregutil.inventory.crawl import crawl

        wanted = self.listed if only is None else only
        mark = (0, 0) if only is not None or self._notified is None else self._notified.mark()
        async with self.connected() as registry:
            read = partial(
                crawl, registry, known=known, believed=believed, on_progress=self._tell, for_policy=for_policy
            )
            try:
                found = await read(wanted)
            except (AccessError, RegistryError) as closed:
                stored = self.stored() if only is None and not isinstance(closed, LoginError) else None
                if stored is None:
                    raise
                found = await read(sorted(stored.repositories))
                found = replace(found, without_catalog=closed.message)
        absent = any(name not in found.failed and not found.inventory.tags(name) for name in only or ())
        others = (self.listed or await self._near_names()) if absent else ()
        return replace(found, complete=only is None and not found.failed, others=others, mark=mark)

    @cached_property
    def _notified(self) -> NotifiedChanges | None:
        """The registry's recorded notifications, if anything was recorded."""
        from dregutil.pulls.tables import pulls_file

        if self.facts is not None:
            self._pull_store.bring()
        if not pulls_file(self.state, self.identity).exists():
            return None
        from dregutil.session.notified import NotifiedChanges

        return NotifiedChanges(self._pull_store)

    def _save(self, found: CrawlResult, last: Refreshed | None = None) -> None:
        """Write the cache file; an error is a warning. `last`: what is noted of the refresh, by default that the whole
        registry was read."""
        if self.cache is None:
            return
        try:
            with self.cache.lock():
                self.cache.write(found.inventory)
        except OSError as error:
            self._warn_of_cache(error.strerror or error)
            return
        except StoreError as error:
            self._warn(f"the tags that were read are not in the store: {error.message}", error.advice)
            return
        from dregutil.inventory.refreshed import Refreshed

        if last is None and found.began is not None:
            last = Refreshed(found.began, *found.mark)
        if last is not None:
            with suppress(OSError, StoreError):  # the next refresh then reads the whole registry
                self._refreshed.write(self.cache, last)

    @property
    def _refreshed(self) -> RefreshedFile:
        from dregutil.inventory.refreshed import RefreshedFile  # with msgspec, which a query does not need

        facts = self.facts if self.cache is not None and self.cache.is_shared else None
        return RefreshedFile(self.state, self.identity, None if facts is None else facts.document("refreshed"))

    def _note(self, found: CrawlResult, path: Path | None = None, *, must: bool = False) -> None:
        """Note a crawl of the whole registry in the records; `path` is the file of the policy that uses them. Raises
        JournalError if they `must` be written; otherwise an error is a warning."""
        try:
            noted = self.records.note(found, self.listed, path)
        except JournalError as error:
            if must:
                raise
            self._warn(error.message, error.advice)
            return
        on_noted = self._options.get("on_noted")
        if on_noted is not None:
            on_noted(noted)
        elif noted.lost:
            self._warn(
                f"the records of when tags came {noted.lost}: "
                "every tag counts as younger than min_age until the new records have known it that long"
            )

    async def _near_names(self) -> Sequence[Repository]:
        """Repositories of which a mistyped one may be meant; none if they cannot be listed."""
        found: list[Repository] = []
        with suppress(DregutilError):
            async with self.connected() as registry:
                async for name in registry.repositories():
                    found.append(name)
                    if len(found) >= _MOST_NEAR:
                        break
        return found
