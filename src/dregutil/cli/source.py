"""Where a command's inventory comes from: the cache file, or the registry."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dregutil.cli.output import note, plural
from dregutil.cli.repositories import listed_repositories, odd_names_lines
from dregutil.cli.settings import Settings
from dregutil.cli.storage import stored_registry
from dregutil.errors import AccessError, DregutilError, LoginError, RegistryError
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.version import tag_order

__all__ = ["Source", "open_source", "read_registry", "repositories_given", "save", "stream_source", "update"]

_MOST_NAMED = 5
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True)
class Source:
    """An inventory, whether it is whole, and the repositories that could not be read. `began`: when a crawl did;
    `named`: the repositories that it asked for, or that the catalog named.

    Of a repository with tags that could not be read, `partly` has the others, and `unread` says why of each: it is
    among those that `failed`, and not in the inventory, since what it holds is not known.
    """

    inventory: Inventory
    whole: bool = True
    failed: Mapping[Repository, DregutilError] = field(default_factory=dict)
    began: datetime | None = None
    partly: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    unread: Mapping[Repository, Mapping[Tag, DregutilError]] = field(default_factory=dict)
    named: frozenset[Repository] = frozenset()

    @property
    def shown(self) -> Inventory:
        """What can be shown: the inventory, and what was read of repositories that were not read whole."""
        return Inventory({**self.inventory.as_mapping(), **self.partly}) if self.partly else self.inventory


def open_source(settings: Settings, only: Sequence[Repository] | None = None) -> Source:
    """The inventory: from the cache where there is one, else read now.

    `only`: all that the answer depends on; without a cache no other repository is read, and nothing is saved.
    """
    found = _cached(settings, CacheFile.read)
    if found is not None:
        return Source(found)
    source = read_registry(settings, None if settings.refresh else only)
    if source.whole:
        save(settings, source.inventory)
    return source


def stream_source(settings: Settings) -> Source:
    """As `open_source`; an inventory from the cache can only be passed over, and takes no memory."""
    found = _cached(settings, CacheFile.stream)
    return open_source(settings) if found is None else Source(found)


def _cached(settings: Settings, read: Callable[[CacheFile], Inventory | None]) -> Inventory | None:
    if settings.cache is None or settings.refresh:
        return None
    found = read(settings.cache)
    if found is not None:
        age = settings.cache.age(time.time()) or 0.0
        note(settings, f"as read {age_text(age)} ago; --refresh reads it again")
    return found


def read_registry(settings: Settings, only: Sequence[Repository] | None) -> Source:
    """Crawl the registry, or `only` some repositories; those that fail are named on standard error.

    What `--repositories-from` names is the whole registry, where there is no catalog.
    """
    listed = repositories_given(settings)
    import asyncio

    from dregutil.cli.connection import connect_options
    from dregutil.inventory.crawl import CrawlResult, crawl
    from dregutil.registry import connect
    from dregutil.report.progress import crawl_progress

    async def read(only: Sequence[Repository] | None) -> CrawlResult:
        async with connect(settings.address, connect_options(settings)) as registry:
            with crawl_progress(show=sys.stderr.isatty() and not settings.quiet) as on_progress:
                return await crawl(registry, listed if only is None else only, on_progress=on_progress)

    complete, began = only is None, datetime.now(UTC)
    try:
        result = asyncio.run(read(only))
    except (AccessError, RegistryError) as closed:
        stored = stored_registry(settings) if complete and not isinstance(closed, LoginError) else None
        if stored is None:
            raise
        note(settings, f"{closed.message}; the repositories are taken from the storage")
        result = asyncio.run(read(sorted(stored.repositories)))
    for line in odd_names_lines(result.odd_names):
        sys.stderr.write(f"dregutil: {line}\n")
    for repository, error in sorted(result.failed.items()):
        _tell_unread(repository, error, result.unread.get(repository, {}))
    whole = complete and not result.failed
    return Source(result.inventory, whole, result.failed, began, result.partly, result.unread, result.named)


def _tell_unread(repository: Repository, error: DregutilError, tags: Mapping[Tag, DregutilError]) -> None:
    if not tags:
        sys.stderr.write(f"dregutil: {repository} was not read: {error.message}\n")
    for tag in sorted(tags, key=tag_order)[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: {repository}:{tag} was not read: {tags[tag].message}\n")
    if len(tags) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(tags) - _MOST_NAMED:,} more of {repository} were not read\n")


def repositories_given(settings: Settings) -> tuple[Repository, ...] | None:
    path = settings.repositories_from
    return None if path is None else listed_repositories(path, settings.address)


def save(settings: Settings, inventory: Inventory) -> None:
    """Write the cache; a folder that cannot be written is a warning."""
    if settings.cache is None:
        return
    try:
        with settings.cache.lock():
            settings.cache.write(inventory)
    except OSError as error:
        why = error.strerror or error
        sys.stderr.write(f"dregutil: warning: the cache file {settings.cache.path} was not written: {why}\n")


def update(settings: Settings, changed: Callable[[Inventory], Mapping[Repository, Mapping[Tag, Digest]]]) -> None:
    """Replace some repositories in the cache, where there is one; what goes wrong is a warning."""
    if settings.cache is None:
        return
    try:
        settings.cache.update(changed)
    except (OSError, DregutilError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"dregutil: warning: the cache file {settings.cache.path} was not written: {why}\n")


def age_text(seconds: float) -> str:
    for unit, noun in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return plural(int(seconds // unit), noun) if noun != "day" else _days(int(seconds // unit))
    return plural(int(seconds), "second")


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"
