"""How a session finds what uses a digest: by the index of a large cache file, or in all tags.

Nothing is changed but that index and the content database.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import CacheError, DregutilError
from dregutil.files import file_of
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.session.reading import ReadingSession

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.session.results import Found

__all__ = ["FindingSession"]

_LARGE = 1_000_000  # bytes of a cache file: all tags of a smaller one are read in a tenth of a second


class FindingSession(ReadingSession):
    """A session that finds what uses a digest."""

    async def find(self, what: str, *, source: CrawlResult | None = None) -> Found:
        """Every tag that uses a manifest, layer or config. `what` is its digest, a unique prefix of it, or an image
        such as `shop/web:1.3`.

        `source`: the tags to search, if they were read before. Raises NotFoundError, and UsageError if several digests
        have the prefix.
        """
        from dregutil.select.find import tagged_digest, used_digest, uses
        from dregutil.session.results import Found

        made_from = self._fingerprint() if source is None else None
        if made_from is not None and (indexed := self._find_indexed(what, made_from)) is not None:
            return indexed
        token = None if made_from is None else self._mark()
        source = source or await self.inventory()
        tags = source.shown
        holders = [*tags.held()]
        unreadable: Mapping[Digest, DregutilError] = {}
        not_read = 0
        digest = tagged_digest(what, source, self.address)
        if digest is None:
            # No tag points to it, so the contents of the tags are needed.
            unreadable = await self.read_contents(holders)
        else:
            not_read = len(self.database.missing(held for _, held in holders))
        if made_from is not None and token is not None and not unreadable and not not_read:
            self._index(source, made_from, token)
        if digest is None:
            digest = used_digest(what, tags, self.database, whole=not source.failed and not unreadable)
            if digest is None:
                return Found(None, (), source, 0, unreadable)
        return Found(digest, uses(digest, tags, self.database), source, not_read, unreadable)

    def _find_indexed(self, what: str, made_from: bytes) -> Found | None:
        """The answer from the index; None if there is none for this cache file, or it has no answer."""
        from dregutil.inventory.tag_index import DamagedIndexError, TagIndex
        from dregutil.select.find import find_indexed
        from dregutil.session.results import Found

        path = self._index_path()
        index = None if path is None else TagIndex.open(path, made_from)
        if path is None or index is None or not self.database.was_all_read(path.name, index.token):
            return None
        age = None if self.cache is None else self.cache.age(time.time())
        try:
            answer = find_indexed(what, index, self.database, self.address)
        except DamagedIndexError:
            return None
        except DregutilError:
            self._tell_read(_of_tags({}, age))
            raise
        if answer is None:
            return None
        digest, uses = answer
        tags = defaultdict[Repository, dict[Tag, Digest]](dict)
        for use in uses:
            tags[use.repository][use.tag] = use.digest
        return Found(digest, uses, self._tell_read(_of_tags(tags, age)))

    def _mark(self) -> bytes | None:
        """Note that all contents of the tags are read, before they are: a row that is dropped meanwhile ends that. None
        without an index."""
        path, token = self._index_path(), os.urandom(16)
        with suppress(CacheError):
            if path is not None:
                self.database.mark_all_read(path.name, token)
                return token
        return None

    def _index(self, source: CrawlResult, made_from: bytes, token: bytes) -> None:
        """Index the tags of a cache file, whose contents were all read. Without an index the next search takes as long
        as this one."""
        from dregutil.inventory.tag_index import write_tag_index

        path = self._index_path()
        is_of_cache = source.is_cached and not source.failed and self._fingerprint() == made_from
        if path is not None and is_of_cache and self.database.was_all_read(path.name, token):
            with suppress(OSError):
                write_tag_index(path, source.inventory, made_from, token)

    def _fingerprint(self) -> bytes | None:
        """That of the cache file, if its tags are used, and it is large enough for an index."""
        from dregutil.inventory.tag_index import fingerprint

        if self.cache is None or self._options.get("refresh"):
            return None
        with suppress(OSError):
            return fingerprint(self.cache.path) if self.cache.path.stat().st_size >= _LARGE else None
        return None

    def _index_path(self) -> Path | None:
        """The file of the index: beside the content database; None without a file of that."""
        if self.cache is None or self.database.path is None:
            return None
        return file_of(self.database.path.parent / "tags", [str(self.cache.path.absolute())])


def _of_tags(tags: Mapping[Repository, Mapping[Tag, Digest]], age: float | None) -> CrawlResult:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.tags import Inventory

    return CrawlResult(Inventory(tags), age=age)
