"""`query-repos` and `query-tags`: the digests that are selected, and why others are left alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import expand, tell_absent
from dregutil.cli.search import note_unmatched, read_search, read_tag_selector, search_contents, tell_every_version
from dregutil.cli.settings import Settings
from dregutil.errors import DregutilError
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.oci.names import Digest
from dregutil.report.text import pair_lines
from dregutil.select.named import parse_named, parse_repositories
from dregutil.select.selection import HeldBack, MatchRules, Selected, Selection, select_repositories, select_tags
from dregutil.session.sync import Session

if TYPE_CHECKING:
    from dregutil.oci.image import ImageDetails

__all__ = ["query_repos", "query_tags", "select", "tell_held"]


def query_repos(args: argparse.Namespace, settings: Settings) -> int:
    return _query(args, settings)


def query_tags(args: argparse.Namespace, settings: Settings) -> int:
    return _query(args, settings)


def _query(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        _, selection, code = select(args, settings, registry, shown=True)
        found = selection.selected
        details = {} if settings.format == "text" else _details(settings, registry, found)
    tell_held(settings, selection.held)
    if not found:
        note(settings, "no digest is selected")
    is_short = sys.stdout.isatty()
    lines = pair_lines([(entry.repository, entry.digest.short if is_short else entry.digest) for entry in found])
    emit(settings, _objects(found, details), lines)
    count(settings, "selected digests", len(found))
    return code


def select(
    args: argparse.Namespace, settings: Settings, registry: Session, *, shown: bool = False
) -> tuple[CrawlResult, Selection, int]:
    """The selection that the command line describes, from the cache or the registry, with its exit code so far.

    `shown`: the selection is only shown, so it may include repositories that were not read completely.
    Raises UsageError before anything is read, NotFoundError, and IntersectionError if an option asks for it.
    """
    rules = MatchRules(
        match_all_tags=getattr(args, "match_all", True),
        ignore_other_repositories=args.ignore_other_repos,
        raise_intersecting_tag=getattr(args, "raise_tag", False),
        raise_intersecting_repository=settings.raise_intersecting_repository,
    )
    if "tags" not in args:
        repositories = parse_repositories(args.repo, settings.address)
        source = registry.inventory(only=repositories if args.ignore_other_repos else None)
        inventory = source.shown if shown else source.inventory
        code = tell_absent(inventory, repositories, source)
        return source, select_repositories(inventory, repositories, rules), code
    named = parse_named(args.repo, settings.address)
    search = read_search(args, settings)
    selector = read_tag_selector(args, search)
    tell_every_version(args, settings, selector, shown=shown)
    source = registry.inventory(only=search.with_bases(named.only) if _is_alone(args, settings) else None)
    inventory = source.shown if shown else source.inventory
    found, code = expand(named, inventory, source)
    if not code:  # repositories that could not be read may have those tags
        note_unmatched(args, settings, selector, inventory, found)
    digests = None
    if search.is_asked:
        tags = [
            (repository, tag, digest)
            for repository in found
            for tag, digest in inventory.tags(repository).items()
            if selector.matches(tag)
        ]
        digests, searched = search_contents(registry, settings, source, search, tags)
        code = max(code, searched)
    return source, select_tags(inventory, found, selector, rules, digests=digests), code


def _is_alone(args: argparse.Namespace, settings: Settings) -> bool:
    """Whether the tags of other repositories decide nothing: by an option, or because only tags are removed."""
    return args.ignore_other_repos or (getattr(args, "untag", False) and not settings.raise_intersecting_repository)


def _details(settings: Settings, registry: Session, found: Sequence[Selected]) -> Mapping[Digest, ImageDetails | None]:
    """What the digests contain. Where the registry cannot be read, what was read before: the selection is complete
    without it."""
    try:
        registry.read_contents([(entry.repository, entry.digest) for entry in found])
    except DregutilError as error:
        note(settings, f"dates and sizes that were never read are not known: {error.message}")
    return {entry.digest: registry.database.details(entry.digest) for entry in found}


def _objects(found: Sequence[Selected], details: Mapping[Digest, ImageDetails | None]) -> Iterator[dict[str, object]]:
    for entry in found:
        image = details.get(entry.digest)
        yield {
            "repository": entry.repository,
            "digest": entry.digest,
            "tags": list(entry.tags),
            "other_tags": list(entry.other_tags),
            "created": None if image is None or image.created is None else image.created.isoformat(),
            "size": None if image is None else image.size,
        }


def tell_held(settings: Settings, held: Sequence[HeldBack]) -> None:
    """Print which digests are left alone, and why."""
    if settings.quiet:
        return
    for entry in held:
        tags = ", ".join(entry.tags[:5]) + (f" and {len(entry.tags) - 5} more" if len(entry.tags) > 5 else "")
        sys.stderr.write(f"left alone: {entry.repository} {entry.digest.short} ({tags}): {entry.reason}\n")
