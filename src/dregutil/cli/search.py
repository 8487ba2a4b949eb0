"""Search by content: applies the selectors of the command line to the images of tags."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence, Set
from typing import TYPE_CHECKING

from dregutil.cli.output import note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.quantity import parse_duration, parse_size
from dregutil.select.search import Search

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.session.sync import Session

__all__ = ["read_search", "search_contents"]


def read_search(args: argparse.Namespace, settings: Settings) -> Search:
    """The content selectors of the command line. Raises UsageError."""
    given = (args.older_than, args.newer_than, args.larger_than, args.label, args.platform, args.media_type)
    if not any(value is not None for value in (*given, args.based_on)):
        return Search()
    from dregutil.select.content_selector import ContentSelector, Label
    from dregutil.select.query import parse_media_type, parse_platform

    selector = ContentSelector(
        older_than=None if args.older_than is None else parse_duration(args.older_than),
        newer_than=None if args.newer_than is None else parse_duration(args.newer_than),
        larger_than=None if args.larger_than is None else parse_size(args.larger_than),
        labels=tuple(map(Label.parse, args.label or ())),
        platforms=tuple(map(parse_platform, _not_empty("--platform", args.platform))),
        media_types=tuple(map(parse_media_type, _not_empty("--media-type", args.media_type))),
    )
    return Search(selector, tuple(Reference.parse(base, registry=settings.address) for base in args.based_on or ()))


def search_contents(
    registry: Session,
    settings: Settings,
    source: CrawlResult,
    search: Search,
    tags: Collection[tuple[Repository, Tag, Digest]],
) -> tuple[Set[Digest], int]:
    """The digests of `tags` that match, and the exit code.

    Reads contents that are not known yet. What cannot be read does not match; a note counts these tags, and those left
    out because their date is not known. Raises NotFoundError and UsageError for a base that cannot be used.
    """
    from dregutil.select.content_selector import Match

    holders = [(repository, digest) for repository, _, digest in tags]
    found = registry.search(source, search, holders)
    for line in found.hints:
        note(settings, line)
    undated = sum(found.matches.get(digest) is Match.DATE_UNKNOWN for _, _, digest in tags)
    if undated:
        note(settings, f"{plural(undated, 'tag')} left out: date unknown")
    unread = sum(digest not in found.matches for _, _, digest in tags)
    if unread:
        note(settings, f"{plural(unread, 'tag')} left out: not read")
    return found.digests, PARTIAL if unread else 0


def _not_empty(option: str, values: Sequence[str] | None) -> Sequence[str]:
    if values is not None and not all(value.strip("/ ") for value in values):
        raise UsageError(f"{option} needs a value")
    return [value.strip("/ ") for value in values or ()]
