"""`query-repos` and `query-tags`: the digests that are selected, and why others are left alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Set
from dataclasses import replace

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import expand, tell_absent
from dregutil.cli.search import read_search, search_contents
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.report.text import pair_lines
from dregutil.select.every_version import EVERY_VERSION_ADVICE, every_version
from dregutil.select.named import parse_named, parse_repositories
from dregutil.select.nearest import near
from dregutil.select.search import Search
from dregutil.select.selection import HeldBack, MatchRules, Selected, Selection, select_repositories, select_tags
from dregutil.select.selector import Every, Exact, TagSelector
from dregutil.session.sync import Session

_MOST_NAMED = 5

__all__ = ["query_repos", "query_tags", "select", "selected_objects", "tell_held"]


def query_repos(args: argparse.Namespace, settings: Settings) -> int:
    return _query(args, settings)


def query_tags(args: argparse.Namespace, settings: Settings) -> int:
    return _query(args, settings)


def _query(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        _, selection, code = select(args, settings, registry, shown=True)
    tell_held(settings, selection.held)
    found = selection.selected
    if not found:
        note(settings, "no digest is selected")
    emit(settings, selected_objects(found), pair_lines([(entry.repository, entry.digest) for entry in found]))
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
        code = tell_absent(inventory, repositories, source.failed)
        return source, select_repositories(inventory, repositories, rules), code
    named = parse_named(args.repo, settings.address)
    search = read_search(args, settings)
    selector = _selector(args, settings, search, shown=shown)
    source = registry.inventory(only=search.with_bases(named.only) if args.ignore_other_repos else None)
    inventory = source.shown if shown else source.inventory
    found, code = expand(named, inventory, source.failed)
    if not code:  # repositories that could not be read may have those tags
        _note_unmatched(args, settings, selector, {tag for name in found for tag in inventory.tags(name)})
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


def _selector(args: argparse.Namespace, settings: Settings, search: Search, *, shown: bool) -> TagSelector:
    for name, values in (("-t", args.tags), ("-x", args.exclude)):
        if values == []:
            raise UsageError(
                f"{name} without a tag: the shell took the < or > as a redirection",
                advice=f"quote it: {name} '<1.4', or {name} \\<1.4",
            )
    if not args.tags and not args.regex and not search.is_asked:
        raise UsageError(
            "no tags are selected",
            advice="name tags or versions with -t, or patterns with -re, or search by --older-than and the like",
        )
    selector = TagSelector.build(
        args.tags or (),
        args.regex or (),
        args.exclude or (),
        args.exclude_regex or (),
        full_match=args.full_match,
    )
    every = every_version(args.tags or (), selector.include)
    if every is not None and not shown:
        raise UsageError(every.text("-t"), advice=EVERY_VERSION_ADVICE)
    if every is not None:
        note(settings, f"warning: {every.text('-t')}")
    every = every_version(args.exclude or (), selector.exclude)
    if every is not None:
        note(settings, f"warning: {every.text('-x', 'exclude')}")
    return selector if args.tags or args.regex else replace(selector, include=(Every(),))


def _note_unmatched(args: argparse.Namespace, settings: Settings, selector: TagSelector, there: Set[str]) -> None:
    """Name the selectors that match no tag, and the excluded tags that do not exist: usually typing errors."""
    given = [*(args.tags or ()), *(args.regex or ())]
    unmatched = [
        f"{text} selects no tag{near(text, there) if isinstance(one, Exact) else ''}"
        for text, one in zip(given, selector.include, strict=False)
        if not (one.name in there if isinstance(one, Exact) else any(map(one.matches, there)))
    ]
    unmatched += [
        f"-x {one.name} names no tag{near(one.name, there)}"
        for one in selector.exclude
        if isinstance(one, Exact) and one.name not in there
    ]
    for line in unmatched[:_MOST_NAMED]:
        note(settings, line)
    if len(unmatched) > _MOST_NAMED:
        note(settings, f"and {len(unmatched) - _MOST_NAMED:,} more that match no tag")


def selected_objects(found: Sequence[Selected]) -> list[dict[str, object]]:
    return [
        {
            "repository": entry.repository,
            "digest": entry.digest,
            "tags": list(entry.tags),
            "other_tags": list(entry.other_tags),
        }
        for entry in found
    ]


def tell_held(settings: Settings, held: Sequence[HeldBack]) -> None:
    """Print which digests are left alone, and why."""
    if settings.quiet:
        return
    for entry in held:
        tags = ", ".join(entry.tags[:5]) + (f" and {len(entry.tags) - 5} more" if len(entry.tags) > 5 else "")
        sys.stderr.write(f"left alone: {entry.repository} {entry.digest.short} ({tags}): {entry.reason}\n")
