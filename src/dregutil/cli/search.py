"""Search: the selectors of the command line, by name and by content, applied to tags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Container, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from dregutil.cli.output import note, plural
from dregutil.cli.repositories import PARTIAL, expand
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.every_version import EVERY_VERSION_ADVICE, every_version
from dregutil.select.named import parse_named
from dregutil.select.quantity import parse_duration, parse_size
from dregutil.select.search import Search
from dregutil.select.selector import Every, TagSelector
from dregutil.select.unmatched import unmatched_lines
from dregutil.select.version import tag_order

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.tags import Inventory
    from dregutil.session.sync import Session

__all__ = [
    "MatchingTags",
    "matching_tags",
    "note_unmatched",
    "read_search",
    "read_tag_selector",
    "search_contents",
    "tell_every_version",
]


def read_search(args: argparse.Namespace, settings: Settings) -> Search:
    """The content selectors of the command line. Raises UsageError."""
    given = (args.older_than, args.newer_than, args.larger_than, args.label, args.platform, args.media_type)
    if not any(value is not None for value in (*given, args.based_on)):
        return Search()
    from dregutil.select.content_selector import ContentSelector, Label
    from dregutil.select.query import parse_media_type

    selector = ContentSelector(
        older_than=None if args.older_than is None else parse_duration(args.older_than),
        newer_than=None if args.newer_than is None else parse_duration(args.newer_than),
        larger_than=None if args.larger_than is None else parse_size(args.larger_than),
        labels=tuple(map(Label.parse, args.label or ())),
        platforms=tuple(_not_empty("--platform", args.platform)),
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


def read_tag_selector(args: argparse.Namespace, search: Search, *, is_listing: bool = False) -> TagSelector:
    """The tags that the command line selects. Raises UsageError if it selects none; a listing then shows them all."""
    for name, values in (("-t", args.tags), ("-x", args.exclude)):
        if values == []:
            raise UsageError(
                f"{name} without a tag: the shell took the < or > as a redirection",
                advice=f"quote it: {name} '<1.4', or {name} \\<1.4",
            )
    if not (is_listing or args.tags or args.regex or search.is_asked):
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
    return selector if args.tags or args.regex else replace(selector, include=(Every(),))


def note_unmatched(
    args: argparse.Namespace,
    settings: Settings,
    selector: TagSelector,
    inventory: Inventory,
    repositories: Sequence[Repository],
) -> None:
    """Name the selectors that match no tag, and the excluded tags that do not exist."""
    for line in unmatched_lines([*(args.tags or ()), *(args.regex or ())], selector, inventory, repositories):
        note(settings, line)


def tell_every_version(args: argparse.Namespace, settings: Settings, selector: TagSelector, *, shown: bool) -> None:
    """Warn of selectors that together match every version. Raises UsageError unless the result is only `shown`."""
    every = every_version(args.tags or (), selector.include)
    if every is not None and not shown:
        raise UsageError(every.text("-t"), advice=EVERY_VERSION_ADVICE)
    if every is not None:
        note(settings, f"warning: {every.text('-t')}")
    every = every_version(args.exclude or (), selector.exclude)
    if every is not None:
        note(settings, f"warning: {every.text('-x', 'exclude')}")


@dataclass(frozen=True, slots=True)
class MatchingTags:
    """The tags of `repositories` (sorted) that a listing shows, one repository at a time: there may be millions. `code`
    is the exit code so far."""

    source: CrawlResult
    inventory: Inventory
    repositories: Sequence[Repository]
    matches: Callable[[Tag], bool]
    digests: Container[Digest] | None = None
    code: int = 0

    def of(self, repository: Repository) -> list[tuple[Repository, Tag, Digest]]:
        """Those of one repository, in version order."""
        found = [
            (repository, tag, digest)
            for tag, digest in self.inventory.tags(repository).items()
            if self.matches(tag) and (self.digests is None or digest in self.digests)
        ]
        return sorted(found, key=lambda one: tag_order(one[1]))

    def __iter__(self) -> Iterator[tuple[Repository, Tag, Digest]]:
        return chain.from_iterable(map(self.of, self.repositories))

    @property
    def number(self) -> int:
        return sum(
            self.matches(tag) and (self.digests is None or digest in self.digests)
            for name in self.repositories
            for tag, digest in self.inventory.tags(name).items()
        )


def matching_tags(args: argparse.Namespace, settings: Settings, registry: Session) -> MatchingTags:
    """The tags that a listing shows. Nothing is held back or left out: without -t and -re, signature tags are listed,
    too. Raises UsageError before anything is read, and NotFoundError."""
    named = parse_named(args.repo, settings.address)
    search = read_search(args, settings)
    selector, is_named = read_tag_selector(args, search, is_listing=True), bool(args.tags or args.regex)
    tell_every_version(args, settings, selector, shown=True)
    source = registry.inventory(only=search.with_bases(named.only))
    inventory = source.shown
    names, code = expand(named, inventory, source)
    if not named.names:
        names, code = tuple(inventory.repositories), PARTIAL if source.failed else 0
    if not code:  # repositories that could not be read may have those tags
        note_unmatched(args, settings, selector, inventory, names)
    matches = selector.matches if is_named else lambda tag: not selector.excludes(tag)
    found = MatchingTags(source, inventory, names, matches, code=code)
    if search.is_asked:
        digests, searched = search_contents(registry, settings, source, search, [*found])
        found = replace(found, digests=digests, code=max(code, searched))
    if next(iter(found), None) is None:
        if is_named or search.is_asked or args.exclude or args.exclude_regex:
            note(settings, "no tag is selected")
        elif not source.failed:
            note(settings, f"{settings.address.name} has no tags")
    return found


def _not_empty(option: str, values: Sequence[str] | None) -> Sequence[str]:
    if values is not None and not all(value.strip("/ ") for value in values):
        raise UsageError(f"{option} needs a value")
    return [value.strip("/ ") for value in values or ()]
