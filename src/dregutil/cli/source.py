"""Messages about the tags that a command works with: how old they are, and what could not be read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from dregutil.cli.configurable import Source
from dregutil.cli.output import note, plural
from dregutil.cli.repositories import odd_names_lines
from dregutil.cli.settings import Settings
from dregutil.errors import DregutilError
from dregutil.files import short_path
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.version import tag_order

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.journal.tag_records import CrawlNote

__all__ = ["tell_noted", "tell_read", "tell_registry", "tell_unreadable"]

_MOST_NAMED = 5
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def tell_registry(settings: Settings) -> None:
    """Name the registry that a name stands for; on a terminal also that of the default, and its cache file."""
    on_terminal = sys.stderr.isatty()
    if settings.hint:
        note(settings, f"{settings.address.name} is not in the configuration file{settings.hint}")
    if not settings.name or not (on_terminal or settings.found["registry"].source is not Source.FILE):
        return
    cache = f"; its tags are cached in {short_path(settings.cache)}" if on_terminal and settings.cache else ""
    note(settings, f"{settings.name} is {settings.address.name}{cache}")


def tell_read(settings: Settings, found: CrawlResult) -> None:
    """Print how old cached tags are, what could not be read, and what the registry's lists omit."""
    if found.is_cached:
        note(settings, f"as read {age_text(found.age or 0.0)} ago; --refresh reads it again")
    if found.without_catalog:
        note(settings, f"{found.without_catalog}; the repositories are taken from the storage")
    for line in odd_names_lines(found.odd_names):
        sys.stderr.write(f"dregutil: {line}\n")
    for repository, error in sorted(found.failed.items()):
        _tell_unread(repository, error, found.unread.get(repository, {}))
    _tell_names("the catalog omits {}, but they have tags: they are read anyway", found.unlisted)
    _tell_names("{} from the last complete crawl: no longer in the catalog, and without tags", found.gone)
    if found.omitted:
        shown = ", ".join(f"{name}:{tag}" for name, tag in found.omitted[:_MOST_NAMED])
        more = f" and {len(found.omitted) - _MOST_NAMED:,} more" if len(found.omitted) > _MOST_NAMED else ""
        number = plural(len(found.omitted), "tag")
        sys.stderr.write(f"dregutil: lists omit {number} ({shown}{more}), which exist: they are read anyway\n")


def tell_unreadable(unreadable: Mapping[Digest, DregutilError], holders: Iterable[tuple[Repository, Digest]]) -> None:
    """Name digests whose content could not be read."""
    place: dict[Digest, Repository] = {}
    for repository, digest in holders:
        if digest in unreadable:
            place.setdefault(digest, repository)
    for digest in sorted(unreadable)[:_MOST_NAMED]:
        where = place.get(digest, "")
        sys.stderr.write(f"dregutil: {where} {digest.short} was not read: {unreadable[digest].message}\n")
    if len(unreadable) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(unreadable) - _MOST_NAMED:,} more could not be read\n")


def age_text(seconds: float) -> str:
    for unit, noun in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return plural(int(seconds // unit), noun) if noun != "day" else _days(int(seconds // unit))
    return plural(int(seconds), "second")


def tell_noted(settings: Settings, noted: CrawlNote) -> None:
    """Print whether the records of when tags came begin, wait or were lost."""
    if noted.lost:
        sys.stderr.write(
            f"dregutil: warning: the records of when tags came {noted.lost}: "
            "every tag counts as younger than min_age until the new records have known it that long\n"
        )
    if noted.waits:
        note(settings, "the records of when tags came begin once every repository can be read")
    elif noted.begins:
        note(
            settings,
            "the records of when tags came begin with this run; tags that are here count by their creation date",
        )
    if noted.unmarked:
        sys.stderr.write(f"dregutil: warning: {noted.unmarked}\n")


def _tell_unread(repository: Repository, error: DregutilError, tags: Mapping[Tag, DregutilError]) -> None:
    if not tags:
        sys.stderr.write(f"dregutil: {repository} was not read: {error.message}\n")
    for tag in sorted(tags, key=tag_order)[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: {repository}:{tag} was not read: {tags[tag].message}\n")
    if len(tags) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(tags) - _MOST_NAMED:,} more of {repository} were not read\n")


def _tell_names(text: str, names: Collection[Repository]) -> None:
    if names:
        shown = ", ".join(list(names)[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        number = plural(len(names), "repository")
        sys.stderr.write(f"dregutil: {text.format(f'{number} ({shown}{more})')}\n")


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"
