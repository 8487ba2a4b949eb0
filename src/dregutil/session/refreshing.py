"""How a session reads a registry again, and what it need not read. Nothing is changed but the cache file, the note of
when it was read, and the records of when tags came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Repository
from dregutil.select.named import parse_repositories
from dregutil.session.crawling import CrawlingSession

if TYPE_CHECKING:
    from dregutil.inventory.refreshed import Refreshed

__all__ = ["WHOLE_AFTER", "RefreshingSession"]

WHOLE_AFTER = timedelta(days=7)  # a registry is read as a whole at least so often


class RefreshingSession(CrawlingSession):
    """A session that reads what has changed."""

    async def crawl(
        self, *repositories: str, only_new: bool = False, full: bool = False, max_age: timedelta | None = None
    ) -> CrawlResult:
        """Read the tags of the registry, or of some repositories. The cache file, if there is one, is updated.

        `only_new`: read the lists, and resolve only the tags that the cache file does not have. The others keep the
        digest that they have there, also if they were moved; so the age of the cache file stays, and nothing is noted.

        If the registry's notifications are recorded (`listen`), only what they say has changed since the last crawl is
        read, unless that was a week ago, or notifications may be lost. Otherwise, if the whole registry was read less
        than `max_age` ago, all lists are read, and the tags of the repositories whose list has changed; the age of the
        cache file stays. `believed` in the result counts the other tags, and nothing is noted in the records. With
        `full`, everything is read.

        A crawl of the whole registry is compared with the last one, because a catalog or a list may omit entries, and
        noted in the records of when tags came. A repository that could not be read is named in the result. Raises
        UnreachableError and LoginError, and CatalogClosedError if the registry lists no repositories.
        """
        if repositories:
            return await self._crawl_named(parse_repositories(repositories, self.address), only_new=only_new)
        known = None if full else self.in_cache()
        if known is not None and only_new:
            return self._updated(known, await self.crawl_whole(known=known))
        last = None if self.cache is None else self._refreshed.read(self.cache)
        if known is not None and last is not None:
            read_ago = datetime.now(UTC) - last.whole
            if timedelta() <= read_ago < WHOLE_AFTER and not last.silent:
                found = await self._crawl_notified(known, last)
                if found is not None:
                    return found
                last = None
            if max_age is not None and timedelta() <= read_ago < max_age:
                return self._updated(known, await self.crawl_whole(believed=known))
        return await self._crawl_all(last)

    async def _crawl_named(self, names: Sequence[Repository], *, only_new: bool) -> CrawlResult:
        found = self._learn(await self._crawl(names, known=self.in_cache() if only_new else None))
        self._update_cache(lambda _: {name: found.inventory.tags(name) for name in set(names) - found.failed.keys()})
        return found

    def _updated(self, known: Inventory, found: CrawlResult) -> CrawlResult:
        """`found`, after the cache file has it; its age stays."""
        gone = known.repositories if found.complete else ()
        names = {*found.inventory.repositories, *gone} - found.failed.keys()
        self._update_cache(lambda _: {name: found.inventory.tags(name) for name in names})
        return found

    async def notifications_arrive(self, since: datetime | None = None, known: Inventory | None = None) -> bool | None:
        """Whether notifications of the registry arrive; None if none was ever recorded, or no tag is known to try it
        with. They do if one was sent after the last one that had been received at `since`."""
        notified = self._notified
        if notified is None or (last := notified.last()) is None:
            return None
        if since is not None and last > since:
            return True
        from dregutil.session.notified import some_tags, tags_of

        known = known or self.in_cache() or Inventory(self._tags)
        async with self.connected() as registry:
            tags = tags_of(known) if known.tag_count else iter(await some_tags(registry))
            first = next(tags, None)
            return None if first is None else await notified.are_arriving(registry, chain([first], tags))

    async def _crawl_notified(self, known: Inventory, last: Refreshed) -> CrawlResult | None:
        """Read what was notified as changed; None if a notification may be missing."""
        if self._notified is None:
            return None
        from dregutil.inventory.refreshed import Refreshed
        from dregutil.session.notified import merged, tags_of, without

        async with self.connected() as registry:
            if not await self._notified.are_arriving(registry, tags_of(known)):
                return None
        mark, changed = self._notified.mark(), self._notified.since(last)
        if changed is None:
            return None
        names = sorted(changed if self.listed is None else changed.keys() & set(self.listed))
        read, unchanged = CrawlResult(Inventory(), began=datetime.now(UTC)), without(known, changed)
        if names:
            read = await self._crawl(names, known=unchanged)
        found = merged(known, read, names, unchanged)
        if read.failed:
            self._update_cache(lambda _: {name: found.inventory.tags(name) for name in names})
        else:
            self._save(found, Refreshed(last.whole, *mark))
        return self._learn(found)

    async def _crawl_all(self, last: Refreshed | None) -> CrawlResult:
        """Read everything. `last` is a refresh, to compare with it what was notified since."""
        from dregutil.inventory.refreshed import Refreshed

        before = None if last is None else self.in_cache()
        found = await self.crawl_whole()
        if found.complete and found.began is not None:
            is_silent = False
            if last is not None and before is not None:
                is_silent = await self._has_unnotified_changes(before, last, found)
            self._save(found, Refreshed(found.began, *found.mark, is_silent))
        self._note(found)
        return found

    async def _has_unnotified_changes(self, before: Inventory, last: Refreshed, found: CrawlResult) -> bool:
        """Whether a registry does not notify all changes, as its configuration may say, or not all of its processes do.
        As before if that is not known; then notifications are not relied on until they name all changes between two
        readings."""
        if self._notified is None:
            return False
        from dregutil.session.notified import not_notified, tags_of

        async with self.connected() as registry:
            is_arriving = await self._notified.are_arriving(registry, tags_of(found.inventory))
        notified = self._notified.since(last) if is_arriving else None
        if notified is None:
            return last.silent
        changed, silent = not_notified(before, found, notified)
        if silent:
            self._warn(
                f"{silent:,} of {changed:,} changed tags were not notified: refresh reads the whole registry",
                "let the registry notify every push and deletion, from each of its processes",
            )
        return silent > 0 or (last.silent and not changed)
