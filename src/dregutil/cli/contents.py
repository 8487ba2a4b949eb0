"""What is behind digests, for a command: from the content database, and from the registry what is not there yet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from dregutil.cli.settings import Settings
from dregutil.errors import CacheError, DregutilError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.oci.names import Digest, Repository

if TYPE_CHECKING:
    from dregutil.inventory.contents.known_manifests import KnownManifests
    from dregutil.inventory.contents.read import Contents

__all__ = ["open_contents", "read_missing", "seen_before"]

_MOST_NAMED = 5


@contextlib.contextmanager
def open_contents(settings: Settings) -> Iterator[ContentDatabase]:
    """The content database; a private one where none is wanted, or, with a warning, where it cannot be used."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(_opened(settings))
        try:
            yield database
        finally:
            if database.dropped:
                what = "1 entry" if database.dropped == 1 else f"{database.dropped:,} entries"
                sys.stderr.write(
                    f"dregutil: warning: {what} of the content database {database.path} had changed on the disk:"
                    " dropped, to be read again\n"
                )


@contextlib.contextmanager
def seen_before(settings: Settings) -> Iterator[KnownManifests]:
    """What the content database has ever seen, in whatever registry; nothing at first where there is none."""
    from dregutil.inventory.contents.known_manifests import KnownManifests

    with open_contents(settings) as database:
        yield KnownManifests(database)


def read_missing(
    settings: Settings, database: ContentDatabase, holders: Collection[tuple[Repository, Digest]]
) -> Mapping[Digest, DregutilError]:
    """Bring what is behind digests into `database`, as `read_contents` does; without asking the
    registry where nothing is missing. Names what cannot be read on standard error, and returns it."""
    missing = set(database.missing(digest for _, digest in holders))
    if not missing:
        return {}
    contents = _read(settings, database, [held for held in holders if held[1] in missing])
    _tell_unreadable(contents.unreadable, holders)
    return contents.unreadable


def _opened(settings: Settings) -> ContentDatabase:
    if settings.contents is None:
        return ContentDatabase.private()
    try:
        return ContentDatabase.open(settings.contents)
    except CacheError as error:
        sys.stderr.write(f"dregutil: warning: {error.message}\n  {error.advice}\n")
        return ContentDatabase.private()


def _read(settings: Settings, database: ContentDatabase, holders: Collection[tuple[Repository, Digest]]) -> Contents:
    import asyncio

    from dregutil.cli.connection import connect_options
    from dregutil.inventory.contents.read import read_contents
    from dregutil.registry import connect
    from dregutil.report.progress import contents_progress

    async def read() -> Contents:
        async with connect(settings.address, connect_options(settings)) as registry:
            with contents_progress(show=sys.stderr.isatty() and not settings.quiet) as on_progress:
                return await read_contents(registry, holders, database, on_progress=on_progress)

    return asyncio.run(read())


def _tell_unreadable(
    unreadable: Mapping[Digest, DregutilError], holders: Collection[tuple[Repository, Digest]]
) -> None:
    place: dict[Digest, Repository] = {}
    for repository, digest in holders:
        if digest in unreadable:
            place.setdefault(digest, repository)
    for digest in sorted(unreadable)[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: {place[digest]} {digest.short} was not read: {unreadable[digest].message}\n")
    if len(unreadable) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(unreadable) - _MOST_NAMED:,} more could not be read\n")
