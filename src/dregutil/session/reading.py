"""What a session reads: tags by selectors, and the contents of images. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from dregutil.errors import (
    DregutilError,
    NotFoundError,
    PartialError,
)
from dregutil.inventory.crawl_result import ContentsProgress, CrawlResult
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.named import parse_named
from dregutil.select.version import tag_order
from dregutil.session.refreshing import RefreshingSession

if TYPE_CHECKING:
    from dregutil.inventory.inspect import InspectedImage
    from dregutil.select.content_selector import ContentSelector, Match
    from dregutil.select.query import Query, Selectors
    from dregutil.select.search import Search
    from dregutil.session.results import ImageTag, SearchResult

__all__ = ["ReadingSession"]


class ReadingSession(RefreshingSession):
    """A session that reads."""

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
        shared = None if not missing or self.facts is None else self.facts.contents
        if shared is not None:
            shared.fetch(missing, self.database)
            missing = set(self.database.missing(missing))
        if not missing:
            return {}
        from dregutil.inventory.contents.read import read_contents

        async with self.connected() as registry:
            contents = await read_contents(
                registry,
                [held for held in holders if held[1] in missing],
                self.database,
                on_progress=lambda done, total: self._tell(ContentsProgress(done, total)),
                on_kept=None if shared is None else shared.keep,
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

    def _query(self, selectors: Selectors) -> Query:
        from dregutil.select.query import read_selectors

        return read_selectors(selectors, self.address)

    def _tags_beside(self, reference: Reference) -> tuple[Tag, ...]:
        """Tags with the same digest in the cache file; they are resolved again before they are shown."""
        from dregutil.inventory.inspect import LATEST

        named = {reference.tag or LATEST} if reference.digest is None else {reference.tag} - {None}
        tags = (self.in_cache() or Inventory()).tags(reference.repository)
        digests = {reference.digest, *(tags.get(tag) for tag in named if tag is not None)} - {None}
        on_it = (tag for tag, found in tags.items() if found in digests)
        return tuple(dict.fromkeys([*(tag for tag in named if tag), *on_it]))
