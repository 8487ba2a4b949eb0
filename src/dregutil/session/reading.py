"""What a session reads: tags, the contents of images, what uses a digest, and what is broken. Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Unpack

from dregutil.errors import (
    AccessError,
    CacheError,
    DregutilError,
    JournalError,
    LoginError,
    NotFoundError,
    PartialError,
    RegistryError,
)
from dregutil.inventory.crawl_result import ContentsProgress, CrawlResult
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.named import parse_named, parse_repositories
from dregutil.select.version import tag_order
from dregutil.session.checking import CheckingSession

if TYPE_CHECKING:
    from pathlib import Path

    from dregutil.inventory.inspect import InspectedImage
    from dregutil.select.content_selector import ContentSelector, Match
    from dregutil.select.query import Query, Selectors
    from dregutil.select.search import Search
    from dregutil.session.results import Found, ImageTag, SearchResult

__all__ = ["ReadingSession"]

_MANY_NAMED = 5
_MOST_NEAR = 10_000
_MOST_DOUBTED = 3


class ReadingSession(CheckingSession):
    """A session that reads."""

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
            self._save(found.inventory)
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

    async def crawl(self, *repositories: str, only_new: bool = False) -> CrawlResult:
        """Read the tags of the registry, or of some repositories. The cache file, if there is one, is updated.

        `only_new`: read the lists, and resolve only the tags that the cache file does not have. The others keep the
        digest that they have there, also if they were moved; so the age of the cache file stays, and nothing is noted.

        A crawl of the whole registry is compared with the last one, because a catalog or a list may omit entries, and
        noted in the records of when tags came. A repository that could not be read is named in the result. Raises
        UnreachableError and LoginError, and CatalogClosedError if the registry lists no repositories.
        """
        names = parse_repositories(repositories, self.address) if repositories else None
        known = self.in_cache() if only_new else None
        if names is not None or known is not None:
            if names is None:
                found = await self.crawl_whole(known=known)
            else:
                found = self._learn(await self._crawl(names, known=known))
            gone = known.repositories if names is None and known is not None and found.complete else ()
            fresh = {
                name: found.inventory.tags(name)
                for name in {*(names or found.inventory.repositories), *gone} - found.failed.keys()
            }
            self._update_cache(lambda _: fresh)
            return found
        found = await self.crawl_whole()
        if found.complete:
            self._save(found.inventory)
        self._note(found)
        return found

    async def crawl_whole(self, *, known: Inventory | None = None, for_policy: bool = False) -> CrawlResult:
        """Read all tags of the registry, also those that its catalog or lists omit; nothing is saved or noted.

        Tags in `known` are only listed. `for_policy`: a policy counts them, so a service's list that may have tags
        without a manifest is not used.
        """
        from dregutil.inventory.crawl_whole import with_unlisted_repositories, with_unlisted_tags

        found = await self._crawl(None, known=known, for_policy=for_policy)
        records = self.records
        async with self.connected() as registry:
            if self.listed is None:
                found = await with_unlisted_repositories(
                    registry, found, records.history, on_progress=self._tell, for_policy=for_policy
                )
            try:
                taken = records.recent().taken
            except JournalError:
                return self._learn(found)
            found = await with_unlisted_tags(registry, found, records.history, taken)
        return self._learn(found)

    async def tags(self, *repositories: str, **selectors: Unpack[Selectors]) -> tuple[ImageTag, ...]:
        """The tags of repositories (names or globs), by default of the whole registry, that match `selectors`: those of
        `Selectors`. In version order.

        Raises NotFoundError if a repository does not exist, PartialError if one could not be read, UsageError for a
        selector that can match nothing, and TypeError for a string instead of a list.
        """
        from dregutil.session.results import ImageTag

        query = self._query(selectors)
        if query.every is not None:
            self._warn(query.every.text("tags"))
        named = parse_named(repositories, self.address)
        found = await self.inventory(only=query.contents.with_bases(named.only))
        names = self.named(repositories, found)
        self._warn_of_unmatched(query, names, found.inventory)
        images = [
            ImageTag(name, tag, digest)
            for name in names
            for tag, digest in sorted(found.inventory.tags(name).items(), key=lambda one: tag_order(one[0]))
            if query.tags.matches(tag)
        ]
        if query.contents.is_asked:
            result = await self.search(found, query.contents, [(one.repository, one.digest) for one in images])
            images = [one for one in images if one.digest in result.digests]
        return tuple(images)

    def _warn_of_unmatched(self, query: Query, names: Sequence[Repository], inventory: Inventory) -> None:
        """Warn of selectors that match no tag."""
        from dregutil.select.unmatched import unmatched_lines

        for line in unmatched_lines(query.given, query.tags, inventory, names, exclude="exclude:"):
            self._warn(line)

    async def contents(self, *repositories: str, **selectors: Unpack[Selectors]) -> tuple[ImageTag, ...]:
        """As `tags`, each with what its image contains: size, date, labels, platforms, layers. What was read before is
        not read again."""
        return await self.describe(await self.tags(*repositories, **selectors))

    async def describe(self, images: Collection[ImageTag]) -> tuple[ImageTag, ...]:
        """Each of `images` with what it contains."""
        unread = await self.read_contents([(one.repository, one.digest) for one in images])
        why = {digest: error.message for digest, error in unread.items()}
        details = {digest: self.database.details(digest) for digest in {one.digest for one in images}}
        return tuple(replace(one, details=details[one.digest], unread=why.get(one.digest, "")) for one in images)

    async def read_contents(self, holders: Collection[tuple[Repository, Digest]]) -> Mapping[Digest, DregutilError]:
        """Read the contents of digests, each with a repository that has it, into the content database. Returns what
        could not be read, and why. What the database has already is not requested."""
        missing = set(self.database.missing(digest for _, digest in holders))
        if not missing:
            return {}
        from dregutil.inventory.contents.read import read_contents

        async with self.connected() as registry:
            contents = await read_contents(
                registry,
                [held for held in holders if held[1] in missing],
                self.database,
                on_progress=lambda done, total: self._tell(ContentsProgress(done, total)),
            )
        on_unreadable = self._options.get("on_unreadable")
        if contents.unreadable and on_unreadable is not None:
            on_unreadable(contents.unreadable, holders)
        elif contents.unreadable:
            digest, error = next(iter(contents.unreadable.items()))
            number = len(contents.unreadable)
            what = digest.short if number == 1 else f"{digest.short} and {number - 1:,} more"
            self._warn(f"{what} could not be read: {error.message}", error.advice)
        return contents.unreadable

    async def search(
        self, source: CrawlResult, search: Search, holders: Collection[tuple[Repository, Digest]]
    ) -> SearchResult:
        """How the contents of digests match. Raises NotFoundError and UsageError for a base that cannot be used."""
        from dregutil.select.content_hints import ContentHints
        from dregutil.select.content_selector import with_bases
        from dregutil.select.find import digest_of_image
        from dregutil.session.results import SearchResult

        bases = [(base.repository, digest_of_image(base, source, self.address)) for base in search.bases]
        wanted = dict.fromkeys(holders)
        unreadable = await self.read_contents((*wanted, *bases))
        database = self.database
        selector: ContentSelector = with_bases(
            search.selector,
            {str(base): database.details(digest) for base, (_, digest) in zip(search.bases, bases, strict=True)},
        )
        hints, now = ContentHints(selector), datetime.now(UTC)
        matches: dict[Digest, Match] = {}
        for digest in {digest: None for _, digest in wanted if digest not in unreadable}:
            details = database.details(digest)
            if details is not None:
                matches[digest] = selector.match(details, now)
                hints.add(details)
        return SearchResult(matches, unreadable, tuple(hints.lines()))

    async def find(self, what: str, *, source: CrawlResult | None = None) -> Found:
        """Every tag that uses a manifest, layer or config. `what` is its digest, a unique prefix of it, or an image
        such as `shop/web:1.3`.

        `source`: the tags to search, if they were read before. Raises NotFoundError, and UsageError if several digests
        have the prefix.
        """
        from dregutil.select.find import tagged_digest, used_digest, uses
        from dregutil.session.results import Found

        source = source or await self.inventory()
        tags = source.shown
        holders = [*tags.held()]
        unreadable: Mapping[Digest, DregutilError] = {}
        not_read = 0
        digest = tagged_digest(what, source, self.address)
        if digest is None:
            # No tag points to it, so the contents of the tags are needed.
            unreadable = await self.read_contents(holders)
            digest = used_digest(what, tags, self.database, whole=not source.failed and not unreadable)
            if digest is None:
                return Found(None, (), source, 0, unreadable)
        else:
            not_read = len(self.database.missing(held for _, held in holders))
        return Found(digest, uses(digest, tags, self.database), source, not_read, unreadable)

    async def inspect(self, image: str) -> InspectedImage:
        """An image, resolved live; the contents of its digest may come from the content database. Raises
        NotFoundError."""
        from dregutil.inventory.inspect import inspect_image

        reference = Reference.parse(image, registry=self.address)
        async with self.connected() as registry:
            found = await inspect_image(registry, reference, self.database, self._tags_beside(reference))
        if found is None:
            raise await self._absent(reference)
        name = f"{self.address.name}/{reference}"
        return replace(found, name=name, tags=tuple(sorted(found.tags, key=tag_order)))

    async def raw_manifest(self, image: str) -> bytes:
        """The manifest of an image, index or artifact, byte for byte as the registry has it. Raises NotFoundError."""
        from dregutil.inventory.inspect import LATEST

        reference = Reference.parse(image, registry=self.address)
        async with self.connected() as registry:
            found = await registry.manifest(reference.repository, reference.digest or reference.tag or LATEST)
        if found is None:
            raise await self._absent(reference)
        return found.raw

    async def raw_config(self, image: str) -> bytes:
        """The config of an image or artifact, byte for byte. Raises NotFoundError, also for an index: it has none."""
        from dregutil.inventory.inspect import config_of

        reference = Reference.parse(image, registry=self.address)
        async with self.connected() as registry:
            found = await config_of(registry, reference)
        if found is None:
            raise await self._absent(reference)
        return found

    async def _absent(self, reference: Reference) -> NotFoundError:
        """The error for an image that is not there, with what is near to it."""
        from dregutil.select.absent import absent_image

        async with self.connected() as registry:
            there = await registry.tags(reference.repository)
        return absent_image(reference, there, () if there else self.listed or await self._near_names(), self.address)

    def named(self, names: Sequence[str], found: CrawlResult) -> tuple[Repository, ...]:
        """The repositories that `names` (names and globs) match; all if it is empty. Raises NotFoundError and
        PartialError."""
        from dregutil.select.absent import absent_text

        wanted = tuple(sorted({*found.inventory.repositories, *found.failed}))
        if names:
            wanted, empty = parse_named(names, self.address).matching(wanted)
            if empty:
                raise NotFoundError(f"no repository matches {empty[0].text}")
        for name in wanted:
            if name in found.failed:
                raise PartialError(
                    f"{name} was not read: {found.failed[name].message}", advice=found.failed[name].advice
                )
            if not found.inventory.tags(name):
                raise NotFoundError(absent_text([*found.inventory.repositories, *found.others], name))
        return wanted

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
        self, only: Sequence[Repository] | None, *, known: Inventory | None = None, for_policy: bool = False
    ) -> CrawlResult:
        """Crawl the registry, or some repositories; tags in `known` are only listed. Without a catalog, the
        repositories are those of the option, or otherwise those of the storage."""
        from dregutil.inventory.crawl import crawl

        wanted = self.listed if only is None else only
        async with self.connected() as registry:
            read = partial(crawl, registry, known=known, on_progress=self._tell, for_policy=for_policy)
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
        return replace(found, complete=only is None and not found.failed, others=others)

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

    def _query(self, selectors: Selectors) -> Query:
        from dregutil.select.query import read_selectors

        return read_selectors(selectors, self.address)

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

    def _tags_beside(self, reference: Reference) -> tuple[Tag, ...]:
        """Tags with the same digest in the cache file; they are resolved again before they are shown."""
        from dregutil.inventory.inspect import LATEST

        named = {reference.tag or LATEST} if reference.digest is None else {reference.tag} - {None}
        tags = (self.in_cache() or Inventory()).tags(reference.repository)
        digests = {reference.digest, *(tags.get(tag) for tag in named if tag is not None)} - {None}
        on_it = (tag for tag, found in tags.items() if found in digests)
        return tuple(dict.fromkeys([*(tag for tag in named if tag), *on_it]))
