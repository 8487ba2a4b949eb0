"""`ls`: tags with their age, size, platforms and digest."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.search import MatchingTags, matching_tags
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored, storage_code
from dregutil.errors import UsageError
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.report.listing import DEFAULT, ListedTag, listing_lines, listing_objects, sorted_tags
from dregutil.report.terminal import width_of
from dregutil.session.results import ImageTag
from dregutil.session.sync import Session

__all__ = ["ls"]

_OF_CONTENTS = {"age", "created", "size", "platforms", "type", "labels", "pulled"}
_DEFAULT = {"text": DEFAULT, "table": ("repository", "tag", "created", "size", "platforms", "digest")}
_DATA = ("repository", "tag", "image", "digest", "created", "size", "platforms")


def ls(args: argparse.Namespace, settings: Settings) -> int:
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: it must be at least 1")
    columns: Sequence[str] = args.columns or _DEFAULT.get(settings.format, _DATA)
    with opened(settings) as registry:
        stored = read_stored(registry, settings)
        found = matching_tags(args, settings, registry)
        source, code, number, now, reads = found.source, found.code, found.number, datetime.now(UTC), not args.no_read
        if args.sort in ("age", "size"):
            tags, code = _described(registry, [ListedTag(*one) for one in found], code, reads=reads)
            tags = sorted_tags(tags, args.sort, now, is_reversed=args.reverse)[: args.top]
        else:
            tags = [*islice(_in_order(found, args.sort, now, is_reversed=args.reverse), args.top)]
        if args.sort not in ("age", "size") and _OF_CONTENTS.intersection(columns):
            tags, code = _described(registry, tags, code, reads=reads)
        if "pushed" in columns:
            tags = _sighted(registry, tags)
        if "pulled" in columns:
            tags = _pulled(registry, tags)
        if "freed" in columns:
            tags, code = _weighed(registry, source, tags, code)
    address = settings.address.name
    lines = listing_lines(tags, columns, now, address=address, width=width_of(sys.stdout))
    emit(settings, listing_objects(tags, columns, address=address), lines)
    if len(tags) < number:
        note(settings, f"{len(tags):,} of {number:,} tags are shown")
    count(settings, "tags", len(tags))
    return max(code, storage_code(stored))


def _in_order(found: MatchingTags, by: str, now: datetime, *, is_reversed: bool) -> Iterator[ListedTag]:
    """Tags by name or version: one repository after another."""
    for repository in found.repositories[:: -1 if is_reversed else 1]:
        yield from sorted_tags([ListedTag(*one) for one in found.of(repository)], by, now, is_reversed=is_reversed)


def _described(registry: Session, tags: Sequence[ListedTag], code: int, *, reads: bool) -> tuple[list[ListedTag], int]:
    """The tags with their contents, and the exit code. Without `reads`, only with what was read before."""
    if reads:
        images = registry.describe([ImageTag(one.repository, one.tag, one.digest) for one in tags])
        code = max(code, PARTIAL if any(one.unread for one in images) else 0)
        return [replace(one, details=image.details) for one, image in zip(tags, images, strict=True)], code
    known = {digest: registry.database.details(digest) for digest in {one.digest for one in tags}}
    return [replace(one, details=known[one.digest]) for one in tags], code


def _sighted(registry: Session, tags: Collection[ListedTag]) -> list[ListedTag]:
    history, listed = registry.records.history, defaultdict[Repository, dict[Tag, Digest]](dict)
    for one in tags:
        listed[one.repository][one.tag] = one.digest
    seen = {name: history.of(name, found) for name, found in listed.items()}
    return [replace(one, sighting=seen[one.repository].get(one.tag)) for one in tags]


def _pulled(registry: Session, tags: Collection[ListedTag]) -> list[ListedTag]:
    images = registry.last_pulls([(one.repository, one.tag, one.digest) for one in tags]).images
    return [replace(one, pull=image.pull) for one, image in zip(tags, images, strict=True)]


def _weighed(
    registry: Session, source: CrawlResult, tags: Sequence[ListedTag], code: int
) -> tuple[list[ListedTag], int]:
    """The tags with what removing each alone would free: for that, all tags of the registry are weighed."""
    whole = source if source.is_cached else registry.usage_source()
    repositories = tuple(dict.fromkeys(one.repository for one in tags))
    found = registry.weigh(whole, repositories, "tag")
    freed = {(row.repository, row.tag): row.unique for row in found.rows("name")}
    weighed = [replace(one, freed=freed.get((one.repository, one.tag))) for one in tags]
    return weighed, max(code, 0 if found.is_complete else PARTIAL)
